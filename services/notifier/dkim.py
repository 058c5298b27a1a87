"""A mail signed by its sender's domain: DKIM (RFC 6376), with RSA or Ed25519 (RFC 8463)."""

import base64
import hashlib
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from shared.sections import Dkim
from shared.setting_values import ConfigurationError

SMALLEST_RSA = 2048
# Once more than they are there: nobody may add another one on the way (RFC 6376, section 8.15).
SEALED = ("from", "to", "subject", "date", "message-id")
SIGNED = (
    *SEALED,
    "auto-submitted",
    "content-language",
    "content-transfer-encoding",
    "content-type",
    "list-id",
    "mime-version",
    "reply-to",
)
_LINE = 70
_SPACE = re.compile(rb"[ \t]+")
_SPACE_AT_END = re.compile(rb"[ \t]+(?=\r\n|$)")
_FOLD = re.compile(rb"\r\n(?=[ \t])")


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs in the name of a domain; the public key stands at SELECTOR._domainkey.DOMAIN."""

    selector: str
    domain: str
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = field(repr=False)

    def signed(self, content: bytes, *, at: int) -> bytes:
        """Return a mail with its signature before it; `at` is the Unix time."""
        head, _, body = content.partition(b"\r\n\r\n")
        headers = _headers(head)
        names = [name for name in SIGNED if name in headers]
        chosen = [name for name in names for _ in headers[name]] + list(SEALED)
        algorithm = "rsa" if isinstance(self.key, rsa.RSAPrivateKey) else "ed25519"
        digest = base64.b64encode(hashlib.sha256(_relaxed_body(body)).digest()).decode()
        unsigned = (
            f"v=1; a={algorithm}-sha256; c=relaxed/relaxed; d={self.domain};\r\n"
            f" s={self.selector}; t={at};\r\n"
            f" h={_folded(':'.join(chosen), at=':')};\r\n"
            f" bh={digest};\r\n"
            " b="
        )
        # The last of a name is taken first; what is not there is an empty string (section 5.4.2).
        covered = b"".join(
            _relaxed_header(name, value) + b"\r\n"
            for name in names
            for value in headers[name][::-1]
        )
        covered += _relaxed_header("dkim-signature", unsigned.encode())
        signature = base64.b64encode(self._sign(covered)).decode()
        whole = f"DKIM-Signature: {unsigned}{_folded(signature)}\r\n"
        return whole.encode() + content

    def _sign(self, covered: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(covered, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(hashlib.sha256(covered).digest())


def signer_of(settings: Dkim, sender_address: str) -> Signer | None:
    """Return what signs, or None where mail is not signed. Raises ConfigurationError."""
    if settings.selector is None:
        return None
    if settings.private_key_file is None:
        message = (
            "notifier.dkim.selector is set and there is no key; "
            "name its file in notifier.dkim.private_key_file"
        )
        raise ConfigurationError(message)
    domain = settings.domain or sender_address.rpartition("@")[2]
    return Signer(settings.selector, domain, _key_in(settings.private_key_file))


def _key_in(path: Path) -> rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey:
    place = f"notifier.dkim.private_key_file {path}"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        pem = path.read_bytes()
    except OSError as error:
        message = f"{place}: cannot be read ({error.strerror}); check path and permissions"
        raise ConfigurationError(message) from None
    if mode & 0o077:
        message = f"{place}: others may read it (mode {mode:04o}); run chmod 600 on it"
        raise ConfigurationError(message)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        message = f"{place}: no private key in it; give one in PEM, without a passphrase"
        raise ConfigurationError(message) from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= SMALLEST_RSA:
        return key
    message = f"{place}: not a key for DKIM; give RSA of {SMALLEST_RSA} bits or more, or Ed25519"
    raise ConfigurationError(message)


def _headers(head: bytes) -> dict[str, list[bytes]]:
    """Return the values of each header, unfolded, in their order."""
    found: dict[str, list[bytes]] = {}
    for line in _FOLD.sub(b"", head).split(b"\r\n"):
        name, _, value = line.partition(b":")
        found.setdefault(name.decode().strip().lower(), []).append(value)
    return found


def _relaxed_header(name: str, value: bytes) -> bytes:
    """Return a header as it is signed (section 3.4.2)."""
    return name.encode() + b":" + _SPACE.sub(b" ", _FOLD.sub(b"", value)).strip(b" \t")


def _relaxed_body(body: bytes) -> bytes:
    """Return the body as it is signed (section 3.4.4)."""
    lines = _SPACE_AT_END.sub(b"", _SPACE.sub(b" ", body))
    end = len(lines)
    while lines.endswith(b"\r\n", 0, end):
        end -= len(b"\r\n")
    kept = lines[:end]
    return kept + b"\r\n" if kept else b""


def _folded(text: str, *, at: str = "") -> str:
    """Return a long value on lines of its own, broken anywhere or behind a character."""
    lines = [""]
    for part in text.split(at) if at else text:
        if lines[-1] and len(lines[-1]) + len(part) > _LINE:
            lines.append("")
        lines[-1] += part + at
    return "\r\n  ".join(lines).removesuffix(at) if at else "\r\n  ".join(lines)
