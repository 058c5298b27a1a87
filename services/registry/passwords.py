"""People's passwords: what one must be like, and what is kept of it."""

import re
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from services.registry.directory import FieldUnusable

PASSWORD_MINIMUM = 12
PASSWORD_MAXIMUM = 1024
# What a hash from elsewhere may cost whoever logs in with it: KiB of memory, rounds, lanes.
_COSTLIEST = (2**20, 16, 16)
_HASH = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)
_hasher = PasswordHasher()  # argon2id with the parameters of RFC 9106's second choice


def new_password() -> str:
    """Return a password with 144 bits of randomness."""
    return secrets.token_urlsafe(18)


def hash_password(password: str) -> str:
    """Return an argon2id hash; takes some 50 ms of a core. Raises FieldUnusable."""
    if not PASSWORD_MINIMUM <= len(password) <= PASSWORD_MAXIMUM:
        raise FieldUnusable(
            f"A password has at least {PASSWORD_MINIMUM} characters"
            f" and at most {PASSWORD_MAXIMUM}.",
            "password",
        )
    try:
        return _hasher.hash(password)
    except UnicodeEncodeError:
        raise FieldUnusable("The password is not Unicode text.", "password") from None


def matches(password_hash: str, password: str) -> bool:
    """Tell whether a password is the one of a hash; takes as long as making it."""
    try:
        return _hasher.verify(password_hash, password[:PASSWORD_MAXIMUM])
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False


def check_hash(password_hash: str) -> str:
    """Return a hash that was made elsewhere, if it can be one. Raises FieldUnusable."""
    found = _HASH.fullmatch(password_hash)
    if found is None or any(
        not 0 < int(cost) <= most for cost, most in zip(found.groups(), _COSTLIEST, strict=True)
    ):
        raise FieldUnusable(
            "The password hash is not one of argon2id, or costs too much.", "password_hash"
        )
    return password_hash
