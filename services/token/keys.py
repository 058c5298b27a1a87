"""The signing keys: made, judged, and noticed when they change.

The key decides the algorithm: RSA of 2048 bits or more → RS256, P-256 → ES256, Ed25519 → EdDSA.
Without usable keys the service runs and says why; when they appear it goes on by itself.
"""

import base64
import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import Algorithm as Signature
from jwt.algorithms import get_default_algorithms

from services.token.key_files import (
    KeyExists,
    KeyUnusable,
    PrivateKey,
    PublicKey,
    read_private,
    read_public,
    write_pair,
    wrong_kind,
)
from shared.logs import get_logger

__all__ = ["Algorithm", "KeyExists", "KeyRing", "KeyUnusable", "SigningKey", "generate", "load"]

Algorithm = Literal["RS256", "ES256", "EdDSA"]
RSA_BITS = 2048
# How often the files are looked at.
LOOK_SECONDS = 1.0
# RFC 7638, section 3.2, and RFC 8037, section 2: what of a key the thumbprint covers.
_THUMBPRINT_MEMBERS = {
    "RSA": ("e", "kty", "n"),
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
}
_SIGNATURES = get_default_algorithms()
log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A usable pair. `jwk` is its public half (RFC 7517)."""

    algorithm: Algorithm
    kid: str
    jwk: dict[str, Any] = field(repr=False)
    _private: PrivateKey = field(repr=False)
    _signature: Signature = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """Return the signature as a JWS carries it (RFC 7518, section 3)."""
        return self._signature.sign(message, self._private)


def generate(private_path: Path, public_path: Path, algorithm: Algorithm) -> SigningKey:
    """Make a pair of key files, the private one 0600 from its first byte; return the key.

    Raises KeyExists, and KeyUnusable when the files cannot be written.
    """
    write_pair(private_path, public_path, _new_key(algorithm))
    return load(private_path, public_path)


def load(private_path: Path, public_path: Path) -> SigningKey:
    """Return the pair of two PEM files. Raises KeyUnusable, which says what to do."""
    private = read_private(private_path)
    algorithm = _algorithm_of(private, private_path)
    public = read_public(public_path, private_path)
    if _encoded(private.public_key()) != _encoded(public):
        message = (
            f"{public_path}: is not the public key of {private_path}; "
            f"`openssl pkey -in {private_path} -pubout -out {public_path}` makes it"
        )
        raise KeyUnusable(message)
    signature = _SIGNATURES[algorithm]
    jwk = signature.to_jwk(private.public_key(), as_dict=True)
    kid = thumbprint(jwk)
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}
    return SigningKey(
        algorithm=algorithm,
        kid=kid,
        jwk={**members, "use": "sig", "alg": algorithm, "kid": kid},
        _private=private,
        _signature=signature,
    )


def thumbprint(jwk: dict[str, Any]) -> str:
    """Return the SHA-256 thumbprint of a public key, base64url without padding (RFC 7638)."""
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}
    canonical = msgspec.json.encode(members, order="sorted")
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).decode().rstrip("=")


class KeyRing:
    """The keys in force. Between two looks at the files, asking for one compares two clocks."""

    def __init__(self, private_path: Path, public_path: Path) -> None:
        self._paths = (private_path, public_path)
        self._seen: object = None
        self._look_at = -float("inf")
        self._current: SigningKey | None = None
        self.trouble: str | None = "the signing keys have not been read yet"

    def current(self) -> SigningKey | None:
        """Return the key that signs, or None; `trouble` then says why."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._look()
        return self._current

    def published(self) -> list[SigningKey]:
        """Return every key that a token in use may be signed with: what the JWKS lists."""
        current = self.current()
        return [] if current is None else [current]

    def _look(self) -> None:
        seen = [_fingerprint(path) for path in self._paths]
        # Read again as long as there is trouble: not all that is mended shows in the fingerprint.
        if seen == self._seen and self._current is not None:
            return
        self._seen = seen
        try:
            self._current = load(*self._paths)
        except KeyUnusable as error:
            self._current = None
            if self.trouble != str(error):
                self.trouble = str(error)
                log.warning("signing keys cannot be used", reason=self.trouble)
        else:
            self.trouble = None
            log.info(
                "signing keys loaded", algorithm=self._current.algorithm, kid=self._current.kid
            )


def _new_key(algorithm: Algorithm) -> PrivateKey:
    match algorithm:
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()


def _algorithm_of(key: PrivateKey, path: Path) -> Algorithm:
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < RSA_BITS:
            message = f"{path}: RSA key of {key.key_size} bits; at least {RSA_BITS} are needed"
            raise KeyUnusable(message)
        return "RS256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "EdDSA"
    if not isinstance(key.curve, ec.SECP256R1):
        raise wrong_kind(path)
    return "ES256"


def _encoded(key: PublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _fingerprint(path: Path) -> tuple[int, ...] | str:
    try:
        found = path.stat()
    except OSError as error:
        return type(error).__name__
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode, found.st_ctime_ns)
