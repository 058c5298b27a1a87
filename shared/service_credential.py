"""The secret by which our own services recognise each other on `/internal/…`: one file, 0600."""

import contextlib
import hmac
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from shared.config import Settings
from shared.secret_source import SecretSource
from shared.setting_values import ConfigurationError

MINIMUM_LENGTH = 32


def load(path: Path) -> str:
    """Return the credential. Raises ConfigurationError when the file is missing or unusable."""
    try:
        credential = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        message = (
            f"service credential {path}: no such file; `oauthapps migrate` makes it, and every "
            "service needs the same one (internal.credential_file)"
        )
        raise ConfigurationError(message) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not ASCII text"
        message = f"service credential {path}: cannot be read ({reason}); check its permissions"
        raise ConfigurationError(message) from None
    if len(credential) < MINIMUM_LENGTH:
        message = f"service credential {path}: shorter than {MINIMUM_LENGTH} characters; remake it"
        raise ConfigurationError(message)
    return credential


def load_or_create(path: Path) -> str:
    """Return the credential, made on first use; two processes that start together agree on one."""
    if path.exists():
        # Also where it was put by somebody else, and its folder is not ours to write to.
        return load(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and linked into place, so that nobody ever reads half of it.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    return load(path)


def credential_source(settings: Settings) -> SecretSource:
    """Return where the credential is read at each use."""
    path = settings.in_var(settings.internal.credential_file)
    return SecretSource(lambda: load(path), str(path))


def is_presented(credential: str, authorization: str | None) -> bool:
    """Tell whether an `Authorization` header carries the credential, in constant time."""
    scheme, _, presented = (authorization or "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(
        presented.strip().encode(), credential.encode()
    )


def bearers_of(credential: SecretSource) -> Callable[[str | None], bool]:
    """Return what tells by an `Authorization` header whether a request is of one of ours."""

    def is_ours(authorization: str | None) -> bool:
        try:
            return is_presented(credential(), authorization)
        except ConfigurationError:
            # Without it nobody can be.
            return False

    return is_ours
