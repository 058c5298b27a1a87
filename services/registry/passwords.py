"""People's passwords: what one must be like, and what is kept of it."""

import re
import secrets
from collections.abc import Iterable
from threading import Lock

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from services.registry.directory import FieldUnusable

PASSWORD_MINIMUM = 12
PASSWORD_MAXIMUM = 1024
# Fewer guesses than this, by the words, names, dates and patterns that people choose, are too few.
GUESSES_MINIMUM = 1e8
# What of a password is judged: as much as takes some hundredths of a second at most.
_JUDGED = 72
# Of this house; the names of user and organization come with each password.
_WORDS = ("oauthapps", "oauth", "applications", "registry", "client", "secret")
_WORDS_OF_A_NAME = re.compile(r"\w{3,64}")
# What a hash from elsewhere may cost whoever logs in with it: KiB of memory, rounds, lanes.
_COSTLIEST = (2**20, 16, 16)
_HASH = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)
_hasher = PasswordHasher()  # argon2id with the parameters of RFC 9106's second choice
# The library keeps the words of one password in a dictionary of all.
_one_at_a_time = Lock()


def new_password() -> str:
    """Return a password with 144 bits of randomness."""
    return secrets.token_urlsafe(18)


def hash_password(password: str, *, about: Iterable[str] = ()) -> str:
    """Return an argon2id hash; takes some 50 ms of a core. Raises FieldUnusable.

    `about`: the user's names and addresses, which others would try first.
    """
    if not PASSWORD_MINIMUM <= len(password) <= PASSWORD_MAXIMUM:
        raise FieldUnusable(
            f"A password has at least {PASSWORD_MINIMUM} characters"
            f" and at most {PASSWORD_MAXIMUM}.",
            "password",
        )
    if _guesses(password, about) < GUESSES_MINIMUM:
        raise FieldUnusable(
            "This password would be guessed soon: take several words that nobody would expect "
            "together.",
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


def _guesses(password: str, about: Iterable[str]) -> float:
    """Return how many guesses it would take who knows what people choose."""
    # When it is first needed: it holds 100,000 words.
    from zxcvbn import zxcvbn  # type: ignore[import-untyped]  # noqa: PLC0415

    words = [*_WORDS, *about]
    words += [part for one in about for part in _WORDS_OF_A_NAME.findall(one)]
    with _one_at_a_time:
        found = zxcvbn(password[:_JUDGED], user_inputs=words, max_length=_JUDGED)
    return float(found["guesses"])
