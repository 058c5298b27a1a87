"""The signing keys: made, read and judged.

The key decides the algorithm: RSA of 2048 bits or more → RS256, P-256 → ES256, Ed25519 → EdDSA.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from shared.jwk import RSA_BITS, Algorithm, algorithm_of, public_members, thumbprint

__all__ = ["Algorithm", "KeyExists", "KeyUnusable", "SigningKey", "generate", "load", "new_key"]

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
    return SigningKey(
        algorithm=algorithm,
        kid=kid,
        jwk={**public_members(jwk), "use": "sig", "alg": algorithm, "kid": kid},
        _private=private,
        _signature=signature,
    )


def _kid_of(public: PublicKey) -> str | None:
    algorithm = algorithm_of(public)
    if algorithm is None:
        return None
    return thumbprint(_SIGNATURES[algorithm].to_jwk(public, as_dict=True))


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
    algorithm = algorithm_of(key.public_key())
    if algorithm is not None:
        return algorithm
    if isinstance(key, rsa.RSAPrivateKey):
        message = f"{path}: RSA key of {key.key_size} bits; at least {RSA_BITS} are needed"
        raise KeyUnusable(message)
    raise wrong_kind(path)


def _encoded(key: PublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
