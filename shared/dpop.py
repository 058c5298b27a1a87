"""Proof of possession (RFC 9449): whoever presents a token also shows that it holds a key."""

import hashlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import jwt

from shared import base64url
from shared.jwk import ALGORITHMS, PRIVATE_MEMBERS, algorithm_of, thumbprint

JTI_LIMIT = 255


class ProofRefused(Exception):
    """The proof is not valid; the reason is for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a valid proof says. `thumbprint` names its key (`jkt`)."""

    thumbprint: str
    jti: str
    issued_at: float
    nonce: str | None


def verify_proof(
    proof: str,
    *,
    method: str,
    url: str,
    now: float,
    seconds: float,
    access_token: str | None = None,
) -> Proof:
    """Return what a proof says, if it is for this request. Raises ProofRefused (section 4.3).

    `seconds` is how far its time may be from now. Whether it was used before is for the caller to
    find out, and so is its nonce. With an access token the proof has to name it.
    """
    try:
        header = jwt.get_unverified_header(proof)
        key = _key_of(header)
        claims: dict[str, Any] = jwt.decode(
            proof,
            key,
            algorithms=[str(header["alg"])],
            options={
                "verify_iat": False,
                "verify_aud": False,
                "verify_exp": False,
                "verify_nbf": False,
                "require": ["jti", "htm", "htu", "iat"],
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ProofRefused(type(error).__name__) from None
    issued_at, jti, nonce = claims["iat"], claims["jti"], claims.get("nonce")
    if claims["htm"] != method or not isinstance(claims["htu"], str):
        raise ProofRefused("for another method")
    if _target(claims["htu"]) != _target(url):
        raise ProofRefused("for another address")
    if isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
        raise ProofRefused("iat is no number")
    if not abs(now - issued_at) <= seconds:
        raise ProofRefused("too old, or from the future")
    if not isinstance(jti, str) or not 0 < len(jti) <= JTI_LIMIT:
        raise ProofRefused("no usable jti")
    if access_token is not None and claims.get("ath") != hash_of(access_token):
        raise ProofRefused("for another access token")
    if nonce is not None and not isinstance(nonce, str):
        raise ProofRefused("nonce is no text")
    return Proof(thumbprint=thumbprint(header["jwk"]), jti=jti, issued_at=issued_at, nonce=nonce)


def _key_of(header: dict[str, Any]) -> jwt.PyJWK:
    """Return the public key that a proof carries. Raises ProofRefused and what PyJWT raises."""
    if str(header.get("typ")).lower() != "dpop+jwt":
        raise ProofRefused("not a DPoP proof (typ)")
    jwk = header.get("jwk")
    if not isinstance(jwk, dict) or header.get("alg") not in ALGORITHMS:
        raise ProofRefused("no public key, or another algorithm than we take")
    if not PRIVATE_MEMBERS.isdisjoint(jwk):
        raise ProofRefused("the key is not public")
    key = jwt.PyJWK.from_dict({**jwk, "alg": header["alg"]})
    if algorithm_of(key.key) != header["alg"]:
        raise ProofRefused("the key is too short, or of another algorithm")
    return key


def hash_of(access_token: str) -> str:
    """Return the claim `ath` for an access token (section 4.2)."""
    return _base64url(hashlib.sha256(access_token.encode()).digest())


def _target(url: str) -> tuple[str, str, int | None, str]:
    """Return what is compared of an address: without query and fragment (section 4.3)."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        raise ProofRefused("htu is no address") from None
    return parts.scheme, parts.hostname or "", port, parts.path or "/"


def _base64url(content: bytes) -> str:
    return base64url.encode(content).decode()
