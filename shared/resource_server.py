"""The resource server's side: is this access token one of ours, and what does it allow?

Keys come from the token service's JWKS and are cached; a rotation is followed, an outage of the
token service is bridged. RFC 6750 for the answers, RFC 9068, section 4, for the checks.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

from shared.failures import TransientFailure
from shared.logs import get_logger
from shared.problem import KEYS_MISSING, Problem
from shared.tasks import end

ALGORITHMS = ("RS256", "ES256", "EdDSA")
# How old the keys may be before they are read again, and how often that is tried at most.
KEYS_SECONDS = 5.0
RETRY_SECONDS = 0.5
LEEWAY_SECONDS = 5
REALM = "oauthapps"
log = get_logger(__name__)


class TokenRefused(Exception):
    """The token is not one of ours, or not any more; the reason is for the log."""


class NoSigningKeys(Exception):
    """The token service has no usable keys."""


class KeysUnavailable(TransientFailure):
    """The token service's keys could not be read yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What a verified token says (RFC 9068, section 2.2)."""

    client_id: str
    scopes: frozenset[str]
    organization_id: str
    owner_id: str
    issued_at: int
    jti: str


class BearerVerifier:
    """Verifies access tokens against the token service's keys."""

    def __init__(self, jwks_url: str, *, issuer: str, audience: str) -> None:
        self._jwks_url = jwks_url
        self._issuer = issuer
        self._audience = audience
        self._keys: dict[str, jwt.PyJWK] | None = None
        self._read_at = -float("inf")
        self._tried_at = -float("inf")
        self._reading = asyncio.Lock()
        self._refresh: asyncio.Task[None] | None = None
        self._http = httpx.AsyncClient(timeout=5.0, trust_env=False)

    async def aclose(self) -> None:
        """Close the connection to the token service."""
        if self._refresh is not None:
            await end(self._refresh)
        await self._http.aclose()

    async def require_keys(self, *, patience: float | None = None) -> None:
        """Return if tokens can be issued at all; wait so many seconds at most for an answer.

        Raises NoSigningKeys, KeysUnavailable.
        """
        if not self._keys:
            await asyncio.wait([self._begin_reading()], timeout=patience)
        elif self._age() > KEYS_SECONDS:
            # Beside the request: a token service that hangs must not make ours hang.
            self._begin_reading()
        if self._keys is None:
            raise KeysUnavailable("the token service's keys could not be read yet")
        if not self._keys:
            raise NoSigningKeys

    def _begin_reading(self) -> asyncio.Task[None]:
        if self._refresh is None or self._refresh.done():
            self._refresh = asyncio.create_task(self._read_keys())
        return self._refresh

    async def verify(self, token: str) -> AccessToken:
        """Return what a token says. Raises TokenRefused, NoSigningKeys, KeysUnavailable."""
        await self.require_keys()
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise TokenRefused(type(error).__name__) from None
        if str(header.get("typ", "")).lower().removeprefix("application/") != "at+jwt":
            raise TokenRefused("not an access token (typ)")
        key = await self._key(header.get("kid"))
        if header.get("alg") not in ALGORITHMS or header["alg"] != key.algorithm_name:
            raise TokenRefused("algorithm is not the key's")
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["iss", "aud", "exp", "iat", "sub", "client_id", "jti"]},
            )
        except jwt.PyJWTError as error:
            raise TokenRefused(type(error).__name__) from None
        return _access_token(claims)

    async def _key(self, kid: object) -> jwt.PyJWK:
        keys = self._keys or {}
        if not isinstance(kid, str):
            raise TokenRefused("no kid")
        if kid not in keys:
            # Signed with a key that is newer than our copy, or by somebody else.
            await self._read_keys()
            keys = self._keys or {}
        if kid not in keys:
            raise TokenRefused("unknown kid")
        return keys[kid]

    async def _read_keys(self) -> None:
        """Read the JWKS, not more often than every half second; keep the old one on failure."""
        async with self._reading:
            if time.monotonic() - self._tried_at < RETRY_SECONDS:
                return
            self._tried_at = time.monotonic()
            try:
                response = await self._http.get(self._jwks_url)
                response.raise_for_status()
                keys = [jwt.PyJWK.from_dict(one) for one in response.json()["keys"]]
            except (httpx.HTTPError, jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
                log.warning("token service's keys not read", reason=type(error).__name__)
                return
            self._keys = {str(key.key_id): key for key in keys}
            self._read_at = time.monotonic()

    def _age(self) -> float:
        return time.monotonic() - self._read_at


def _access_token(claims: dict[str, Any]) -> AccessToken:
    values = {name: claims.get(name, "") for name in ("client_id", "scope", "org", "owner", "jti")}
    if not all(isinstance(value, str) for value in values.values()):
        raise TokenRefused("a claim is of the wrong type")
    return AccessToken(
        client_id=values["client_id"],
        scopes=frozenset(values["scope"].split()),
        organization_id=values["org"],
        owner_id=values["owner"],
        issued_at=int(claims["iat"]),
        jti=values["jti"],
    )


def bearer_token(authorization: str | None) -> str:
    """Return the token of an `Authorization` header. Raises Problem 401 (RFC 6750, section 3)."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        # Without credentials: a challenge and no error code.
        raise Problem(
            401,
            "Send an access token of the token service as `Authorization: Bearer …`.",
            headers={"WWW-Authenticate": f'Bearer realm="{REALM}"'},
        )
    return token.strip()


def invalid_token(detail: str = "The access token is invalid, expired or withdrawn.") -> Problem:
    """Return the answer to a token that is not accepted."""
    challenge = f'Bearer realm="{REALM}", error="invalid_token"'
    return Problem(401, detail, headers={"WWW-Authenticate": challenge})


def insufficient_scope(scope: str) -> Problem:
    """Return the answer to a token that does not allow the request."""
    challenge = f'Bearer realm="{REALM}", error="insufficient_scope", scope="{scope}"'
    return Problem(
        403,
        f"This needs an access token with the scope {scope}.",
        headers={"WWW-Authenticate": challenge},
    )


def keys_missing() -> Problem:
    """Return the answer while the token service has no keys."""
    return Problem(503, KEYS_MISSING)
