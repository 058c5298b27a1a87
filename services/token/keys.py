"""The signing keys: made, read and judged.

The key decides the algorithm: RSA of 2048 bits or more → RS256, P-256 → ES256, Ed25519 → EdDSA.
"""

import base64
import hashlib
from collections.abc import Collection
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

__all__ = ["Algorithm", "KeyExists", "KeyUnusable", "SigningKey", "generate", "load", "new_key"]

Algorithm = Literal["RS256", "ES256", "EdDSA"]
RSA_BITS = 2048
# RFC 7638, section 3.2, and RFC 8037, section 2: what of a key the thumbprint covers.
_THUMBPRINT_MEMBERS = {
    "RSA": ("e", "kty", "n"),
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
}
_SIGNATURES = get_default_algorithms()


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
    write_pair(private_path, public_path, new_key(algorithm))
    return load(private_path, public_path)


def load(
    private_path: Path, public_path: Path, *, also: Collection[str] = frozenset()
) -> SigningKey:
    """Return the pair of two PEM files. Raises KeyUnusable, which says what to do.

    `also` are key ids whose public half may stand there too: the files of a pair are replaced one
    after the other.
    """
    private = read_private(private_path)
    algorithm = _algorithm_of(private, private_path)
    public = read_public(public_path, private_path)
    signature = _SIGNATURES[algorithm]
    is_pair = _encoded(private.public_key()) == _encoded(public)
    if not is_pair and _kid_of(public) not in also:
        message = (
            f"{public_path}: is not the public key of {private_path}; "
            f"`openssl pkey -in {private_path} -pubout -out {public_path}` makes it"
        )
        raise KeyUnusable(message)
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


def _kid_of(public: PublicKey) -> str | None:
    if isinstance(public, rsa.RSAPublicKey):
        return thumbprint(_SIGNATURES["RS256"].to_jwk(public, as_dict=True))
    if isinstance(public, ed25519.Ed25519PublicKey):
        return thumbprint(_SIGNATURES["EdDSA"].to_jwk(public, as_dict=True))
    if isinstance(public.curve, ec.SECP256R1):
        return thumbprint(_SIGNATURES["ES256"].to_jwk(public, as_dict=True))
    return None


def thumbprint(jwk: dict[str, Any]) -> str:
    """Return the SHA-256 thumbprint of a public key, base64url without padding (RFC 7638)."""
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}
    canonical = msgspec.json.encode(members, order="sorted")
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).decode().rstrip("=")


def new_key(algorithm: Algorithm) -> PrivateKey:
    """Return a private key for an algorithm."""
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
