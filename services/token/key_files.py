"""Key files: PEM on disk, never readable by others while they are made; each fault has a remedy."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644
# Far above any key; what is longer is something else.
MOST_BYTES = 65_536


class KeyUnusable(Exception):
    """The signing keys cannot be used; the message says which file and what to do."""


class KeyExists(Exception):
    """There is a key already, and keys are never overwritten."""


def write_pair(private_path: Path, public_path: Path, key: PrivateKey) -> None:
    """Make both files of a pair or none, each complete from the moment it has its name.

    Raises KeyExists when there is a file already, KeyUnusable when they cannot be written.
    """
    private_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public_pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    drafts: list[Path] = []
    try:
        _draft(private_path, private_pem, PRIVATE_MODE, drafts)
        _draft(public_path, public_pem, PUBLIC_MODE, drafts)
        _name_both(drafts, (private_path, public_path))
    except OSError as error:
        place = error.filename or private_path.parent
        message = f"{place}: cannot be written ({error.strerror}); check folder and permissions"
        raise KeyUnusable(message) from None
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Put a file in the place of another, whole or not at all. Raises OSError."""
    drafts: list[Path] = []
    try:
        _draft(path, content, mode, drafts)
        drafts[0].replace(path)
        sync(path.parent)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)


def _draft(path: Path, content: bytes, mode: int, drafts: list[Path]) -> None:
    """Write a file beside its place, with its final mode before its first byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE)
    drafts.append(draft)
    with os.fdopen(descriptor, "wb") as file:
        # Asked for again, since the umask took its part of what `open` was told.
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _name_both(drafts: list[Path], paths: tuple[Path, Path]) -> None:
    """Link drafts to their names. A link never replaces a file, not even in a race."""
    for path in paths:
        if os.path.lexists(path):
            raise _exists(path)
    named: list[Path] = []
    try:
        for draft, path in zip(drafts, paths, strict=True):
            path.hardlink_to(draft)
            named.append(path)
    except BaseException as error:
        # Half a pair would stand in the way of the next try.
        for path in named:
            path.unlink()
        if isinstance(error, FileExistsError):
            raise _exists(error.filename2) from None
        raise
    for folder in {path.parent for path in paths}:
        sync(folder)


def _exists(path: Path | str) -> KeyExists:
    return KeyExists(f"{path} exists and is not overwritten; move it away to make new keys")


def sync(folder: Path) -> None:
    """Make the names in a folder last beyond a loss of power. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    # Some file systems cannot; the files themselves are on disk already.
    with contextlib.suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)


def read_private(path: Path) -> PrivateKey:
    """Return a private key that only its owner can read. Raises KeyUnusable."""
    content, mode = _read(path, "private key", "`oauthapps keys generate` makes a pair")
    if mode & 0o077:
        message = f"{path}: private key is open to others (mode {mode:04o}); `chmod 600 {path}`"
        raise KeyUnusable(message)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError:
        message = (
            f"{path}: private key is encrypted; remove its passphrase with "
            f"`openssl pkey -in {path} -out {path}.plain`"
        )
        raise KeyUnusable(message) from None
    except (ValueError, UnsupportedAlgorithm):
        message = f"{path}: not a private key in PEM form; `oauthapps keys generate` makes a pair"
        raise KeyUnusable(message) from None
    if not isinstance(key, PrivateKey):
        raise wrong_kind(path)
    return key


def read_public(path: Path, private_path: Path) -> PublicKey:
    """Return a public key. Raises KeyUnusable."""
    remedy = f"`openssl pkey -in {private_path} -pubout -out {path}` makes it"
    content, _ = _read(path, "public key", remedy)
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        message = f"{path}: not a public key in PEM form; {remedy}"
        raise KeyUnusable(message) from None
    if not isinstance(key, PublicKey):
        raise wrong_kind(path)
    return key


def wrong_kind(path: Path) -> KeyUnusable:
    """Return the refusal of a key that signs by none of our algorithms."""
    return KeyUnusable(f"{path}: neither RSA nor P-256 nor Ed25519; use one of these")


def _read(path: Path, what: str, remedy: str) -> tuple[bytes, int]:
    """Return content and mode of one and the same file. Raises KeyUnusable."""
    try:
        # A pipe in the key's place must not make the service wait for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # Not `os.fdopen`: it refuses a folder and leaves it open, once for every look.
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                message = f"{path}: {what} is not a regular file; {remedy}"
                raise KeyUnusable(message)
            return os.read(descriptor, MOST_BYTES), stat.S_IMODE(found.st_mode)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        message = f"{path}: no such file; {remedy}"
        raise KeyUnusable(message) from None
    except OSError as error:
        message = f"{path}: {what} cannot be read ({error.strerror}); check owner and permissions"
        raise KeyUnusable(message) from None
