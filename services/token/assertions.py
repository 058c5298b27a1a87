"""Client authentication by a signed assertion: `private_key_jwt` (RFC 7523, section 3)."""

from typing import Any

import jwt

from services.token.errors import InvalidClient
from shared.clients import ClientRecord
from shared.jwk import ALGORITHMS

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# How far a client's clock may be off.
LEEWAY_SECONDS = 30
JTI_LIMIT = 255


def claimed_client(assertion: str) -> str:
    """Return whom an assertion says it is from; nothing of it is verified. Raises InvalidClient."""
    try:
        claims = jwt.decode(assertion, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise InvalidClient(reason="not a JWT") from None
    client_id = claims.get("sub")
    if not isinstance(client_id, str) or claims.get("iss") != client_id:
        raise InvalidClient(reason="iss and sub of the assertion are not one Client ID")
    return client_id


def verified_claims(
    assertion: str, client: ClientRecord, *, issuer: str, longest: float, now: float
) -> tuple[dict[str, Any], str] | str:
    """Return the claims of an assertion and the `kid` of its key, or what is wrong with it.

    `aud` is the issuer and nothing else (RFC 7523 bis: an endpoint's address would let one server
    use at another what it was given); `longest` is how many seconds ahead `exp` may lie.
    """
    try:
        header = jwt.get_unverified_header(assertion)
        key = _key_of(client, header)
        if key is None:
            return "assertion by an unknown key"
        claims: dict[str, Any] = jwt.decode(
            assertion,
            key,
            algorithms=[key.algorithm_name],
            options={
                "verify_aud": False,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "require": ["iss", "sub", "aud", "exp", "jti"],
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return "assertion not signed by a key of the client"
    audience = claims["aud"]
    if audience not in (issuer, [issuer]):
        return "assertion for another audience"
    return _wrong_times(claims, longest, now) or (claims, str(key.key_id))


def _key_of(client: ClientRecord, header: dict[str, Any]) -> jwt.PyJWK | None:
    """Return the key that the header names, if the algorithm is the key's own."""
    named = [one for one in client.keys if header.get("kid") in (one.kid, None)]
    fitting = [one for one in named if one.alg == header.get("alg") and one.alg in ALGORITHMS]
    # Without a name only one key can be meant.
    return jwt.PyJWK.from_dict(fitting[0].jwk) if len(fitting) == 1 else None


def _wrong_times(claims: dict[str, Any], longest: float, now: float) -> str | None:
    times = {name: claims.get(name, 0) for name in ("exp", "iat", "nbf")}
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in times.values()):
        return "a time of the assertion is no number"
    if not times["exp"] > now - LEEWAY_SECONDS:
        return "assertion expired"
    if times["exp"] > now + longest + LEEWAY_SECONDS:
        return "assertion good for too long"
    if max(times["iat"], times["nbf"]) > now + LEEWAY_SECONDS:
        return "assertion from the future"
    jti = claims["jti"]
    if not isinstance(jti, str) or not 0 < len(jti) <= JTI_LIMIT:
        return "assertion without a usable jti"
    return None
