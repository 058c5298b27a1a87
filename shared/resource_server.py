"""The resource server's side: is this access token one of ours, and what does it allow?

Keys come from the token service's JWKS and are cached; a rotation is followed, an outage of the
token service is bridged. RFC 6750 for the answers, RFC 9068, section 4, for the checks.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.dpop import ProofRefused, verify_proof
from shared.failures import TransientFailure
from shared.jwk import ALGORITHMS
from shared.logs import get_logger
from shared.problem import KEYS_MISSING, Problem
from shared.security_log import path_of, security
from shared.tasks import end
from shared.trust import trusted
from shared.web import problem_response
from shared.withdrawals import TokenWithdrawn, Withdrawals

# How old the keys may be before they are read again, and how often that is tried at most.
KEYS_SECONDS = 5.0
RETRY_SECONDS = 0.5
LEEWAY_SECONDS = 5
REALM = "oauthapps"
# How far the time of a DPoP proof may be off, and how many are remembered.
PROOF_SECONDS, MOST_PROOFS = 60.0, 100_000
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
    expires_at: int
    # Of the key that the token is bound to (RFC 9449, section 6.1), if it is bound to one.
    thumbprint: str | None = None


class BearerVerifier:
    """Verifies access tokens against the token service's keys."""

    def __init__(self, jwks_url: str, *, issuer: str, audience: str) -> None:
        self._jwks_url = jwks_url
        self._issuer = issuer
        self._audience = audience
        self._keys: dict[str, jwt.PyJWK] | None = None
        self._read_at = -float("inf")
        self._tried_at = -float("inf")
        self._is_reachable = True
        self._refresh: asyncio.Task[None] | None = None
        self._http = httpx.AsyncClient(verify=trusted(), timeout=5.0, trust_env=False)

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
        # One at a time, whoever asks: a token service that hangs must not make a queue.
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
            await asyncio.wait([self._begin_reading()])
            keys = self._keys or {}
        if kid not in keys:
            if not self._is_reachable:
                raise KeysUnavailable("a key that is not known, and no answer from who knows it")
            raise TokenRefused("unknown kid")
        return keys[kid]

    async def _read_keys(self) -> None:
        """Read the JWKS, not more often than every half second; keep the old one on failure."""
        if time.monotonic() - self._tried_at < RETRY_SECONDS:
            return
        self._tried_at = time.monotonic()
        try:
            response = await self._http.get(self._jwks_url)
            response.raise_for_status()
            keys = [jwt.PyJWK.from_dict(one) for one in response.json()["keys"]]
        except (httpx.HTTPError, jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
            log.warning("token service's keys not read", reason=type(error).__name__)
            self._is_reachable = False
            return
        self._keys = {str(key.key_id): key for key in keys}
        self._read_at = time.monotonic()
        self._is_reachable = True

    def _age(self) -> float:
        return time.monotonic() - self._read_at


def _access_token(claims: dict[str, Any]) -> AccessToken:
    values = {name: claims.get(name, "") for name in ("client_id", "scope", "org", "owner", "jti")}
    if not all(isinstance(value, str) for value in values.values()):
        raise TokenRefused("a claim is of the wrong type")
    confirmation = claims.get("cnf")
    thumbprint = confirmation.get("jkt") if isinstance(confirmation, dict) else None
    if confirmation is not None and not isinstance(thumbprint, str):
        # Bound in a way that we cannot check: not to be taken for a token that is not.
        raise TokenRefused("bound to something else than a DPoP key")
    return AccessToken(
        client_id=values["client_id"],
        scopes=frozenset(values["scope"].split()),
        organization_id=values["org"],
        owner_id=values["owner"],
        issued_at=int(claims["iat"]),
        jti=values["jti"],
        expires_at=int(claims["exp"]),
        thumbprint=thumbprint,
    )


def presented_token(authorization: str | None) -> str:
    """Return the token of an `Authorization` header. Raises Problem 401 (RFC 6750, section 3).

    Whether it had to come as `DPoP` is for `Possession` to say, which knows the token.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() not in ("bearer", "dpop") or not token.strip():
        # Without credentials: a challenge and no error code.
        raise Problem(
            401,
            "Send an access token of the token service as `Authorization: Bearer …`.",
            headers={"WWW-Authenticate": f'Bearer realm="{REALM}"'},
        )
    return token.strip()


class Possession:
    """Whether whoever presents a bound token holds its key (RFC 9449, section 7).

    Proofs are remembered in this process until they are too old to be taken.
    """

    def __init__(
        self, public_url: str, *, seconds: float = PROOF_SECONDS, most: int = MOST_PROOFS
    ) -> None:
        self._public_url = public_url.rstrip("/")
        self._seconds = seconds
        self._most = most
        self._seen: OrderedDict[str, float] = OrderedDict()

    def check(self, token: AccessToken, request: Request) -> None:
        """Return if the token is not bound, or proven to be in its client's hands.

        Raises TokenRefused.
        """
        scheme, _, presented = (request.headers.get("authorization") or "").partition(" ")
        if token.thumbprint is None:
            if scheme.lower() != "bearer":
                raise TokenRefused("a token without a key, presented as DPoP")
            return
        proofs = request.headers.getlist("dpop")
        if scheme.lower() != "dpop" or len(proofs) != 1:
            raise TokenRefused("a bound token without its proof")
        now = time.time()
        try:
            proof = verify_proof(
                proofs[0],
                method=request.method,
                url=f"{self._public_url}{request.url.path}",
                now=now,
                seconds=self._seconds,
                access_token=presented.strip(),
            )
        except ProofRefused as error:
            raise TokenRefused(f"DPoP: {error}") from None
        if proof.thumbprint != token.thumbprint:
            raise TokenRefused("DPoP: proof of another key")
        if not self._is_new(f"{proof.thumbprint} {proof.jti}", now):
            raise TokenRefused("DPoP: proof used before")

    def _is_new(self, name: str, now: float) -> bool:
        while self._seen and next(iter(self._seen.values())) < now:
            self._seen.popitem(last=False)
        if name in self._seen or len(self._seen) >= self._most:
            # Without room to remember, nothing can be taken that must not come twice.
            return False
        self._seen[name] = now + 2 * self._seconds
        return True


class ResourceServer:
    """ASGI middleware: lets requests through that carry a good access token.

    The token stands in `scope["state"]["access_token"]` then. `scope_of` says which scope a request
    needs, by method and path; None needs a token alone. Paths in `public` need none.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        verifier: "BearerVerifier",
        possession: Possession,
        scope_of: Callable[[str, str], str | None] = lambda _method, _path: None,
        withdrawals: Withdrawals | None = None,
        public: Collection[str] = (),
    ) -> None:
        self._app = app
        self._verifier = verifier
        self._possession = possession
        self._scope_of = scope_of
        self._withdrawals = withdrawals
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem (RFC 6750, section 3.1)."""
        if scope["type"] == "lifespan" or scope.get("path") in self._public:
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # A WebSocket that nobody protects must not be open by accident.
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            token = await self._token(Request(scope))
        except Problem as problem:
            await problem_response(problem)(scope, receive, send)
            return
        scope.setdefault("state", {})["access_token"] = token
        await self._app(scope, receive, send)

    async def _token(self, request: Request) -> AccessToken:
        presented = presented_token(request.headers.get("authorization"))
        try:
            token = await self._verifier.verify(presented)
            self._possession.check(token, request)
            if self._withdrawals is not None:
                self._withdrawals.check(token.client_id, token.jti, token.issued_at)
        except NoSigningKeys:
            raise keys_missing() from None
        except (TokenRefused, TokenWithdrawn) as error:
            path = path_of(request.url.path)
            security.warning("access token refused", reason=str(error), path=path)
            raise invalid_token() from None
        except TransientFailure as failure:
            log.info("access token not verified", reason=str(failure))
            raise Problem(
                503,
                "Access tokens cannot be verified at the moment. Please try again.",
                headers={"Retry-After": "5"},
            ) from None
        needed = self._scope_of(request.method, request.url.path)
        if needed is not None and needed not in token.scopes:
            security.warning("scope missing", client_id=token.client_id, scope=needed)
            raise insufficient_scope(needed)
        return token


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
