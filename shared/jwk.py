"""Public keys as JWKs: what belongs to one, its thumbprint, and the algorithm it is used with."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from shared import base64url

Algorithm = Literal["RS256", "ES256", "EdDSA"]
ALGORITHMS: tuple[Algorithm, ...] = ("RS256", "ES256", "EdDSA")
RSA_BITS = 2048
# RFC 7638, section 3.2, and RFC 8037, section 2: what of a key the thumbprint covers.
_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
# RFC 7518, section 6: what only whoever holds the key may know.
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


def public_members(jwk: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes the public key, and nothing else. Raises KeyError, TypeError."""
    return {name: jwk[name] for name in _MEMBERS[jwk["kty"]]}


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the SHA-256 thumbprint of a public key, base64url without padding (RFC 7638).

    Raises KeyError, TypeError.
    """
    canonical = json.dumps(
        public_members(jwk), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    digest = hashlib.sha256(canonical.encode()).digest()
    return base64url.encode(digest).decode()


def algorithm_of(key: object) -> Algorithm | None:
    """Return how a public key signs here: RSA of 2048 bits or more, P-256, Ed25519; else None."""
    match key:
        case rsa.RSAPublicKey() if key.key_size >= RSA_BITS:
            return "RS256"
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1):
            return "ES256"
        case ed25519.Ed25519PublicKey():
            return "EdDSA"
        case _:
            return None
