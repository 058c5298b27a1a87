"""The signing keys: made, read and judged.

The key decides the algorithm: RSA of 2048 bits or more → RS256, P-256 → ES256, Ed25519 → EdDSA.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
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
    # Of a message, as a JWS carries it (RFC 7518, section 3).
    sign: Callable[[bytes], bytes] = field(repr=False)


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
        sign=_signing(private),
    )


def _signing(private: PrivateKey) -> Callable[[bytes], bytes]:
    """Return what signs with a key; what does not depend on the message is made once."""
    match private:
        case rsa.RSAPrivateKey():
            pkcs1, sha256 = padding.PKCS1v15(), hashes.SHA256()
            return lambda message: private.sign(message, pkcs1, sha256)
        case ec.EllipticCurvePrivateKey():
            ecdsa = ec.ECDSA(hashes.SHA256())
            return lambda message: _two_numbers(private.sign(message, ecdsa))
        case ed25519.Ed25519PrivateKey():
            return private.sign


def _two_numbers(signature: bytes) -> bytes:
    """Return a signature on P-256 without its DER: two numbers of 32 bytes (section 3.4)."""
    r, s = decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


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
