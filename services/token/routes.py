"""The token endpoint and what describes it: `/oauth2-token`, JWKS, metadata."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec
from prometheus_client import Counter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from services.token.access_tokens import AccessTokens
from services.token.catch_up import CatchUp
from services.token.client_auth import authenticate, presented
from services.token.errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidClient,
    InvalidRequest,
    KeysNotConfigured,
    MethodNotAllowed,
    OAuthError,
    ProjectionStale,
    ServerError,
)
from services.token.grant import check_grant_type, check_resources, granted_scope
from services.token.key_ring import KeyRing
from services.token.metadata import metadata_of, metadata_path
from services.token.parameters import parse
from services.token.projection import Projection
from services.token.usage import Usage
from shared.config import Settings
from shared.logs import get_logger
from shared.problem import Problem
from shared.web import json_response, read_body

TOKENS = Counter("oauthapps_token_requests_total", "Answers of the token endpoint", ["outcome"])
_ISSUED = TOKENS.labels("issued")
_ALWAYS = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"pragma", b"no-cache"),
]
_encode = msgspec.json.Encoder().encode
TOKEN_PATHS = frozenset({"/oauth2-token", "/token"})
# How often the store's staleness is looked at; the bound it is held against is minutes or hours.
STALENESS_LOOK_SECONDS = 1.0
RETRY_SECONDS = 5
log = get_logger(__name__)


class TokenEndpoint:
    """`POST /oauth2-token`, as plain ASGI: little between the socket and the signature."""

    def __init__(
        self,
        settings: Settings,
        *,
        keys: KeyRing,
        projection: Projection,
        catch_up: CatchUp,
        usage: Usage,
    ) -> None:
        self._keys = keys
        self._usage = usage
        self._projection = projection
        self._catch_up = catch_up
        self._audience = settings.audience
        self._tokens = AccessTokens(
            issuer=settings.issuer,
            audience=settings.audience,
            lifetime_seconds=int(settings.token.lifetime.total_seconds()),
        )
        self._max_body = settings.token.max_body
        self._body_seconds = settings.token.body_timeout.total_seconds()
        self._max_staleness = settings.token.max_staleness.total_seconds()
        self._fresh_until = -float("inf")
        realm = settings.token.realm.replace("\\", r"\\").replace('"', r"\"")
        self._challenge = (b"www-authenticate", f'Basic realm="{realm}"'.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Nothing leaves here but JSON of RFC 6749, section 5."""
        try:
            body = await self._answer(Request(scope, receive))
        except OAuthError as error:
            TOKENS.labels(error.code).inc()
            log.info("refused", code=error.code, reason=error.reason, client_id=error.client_id)
            await self._send_error(send, error)
        except Exception:
            TOKENS.labels(ServerError.code).inc()
            log.exception("token endpoint failed")
            await self._send_error(send, ServerError())
        else:
            _ISSUED.inc()
            await _send(send, 200, body, ())

    async def _answer(self, request: Request) -> bytes:
        if request.method != "POST":
            raise MethodNotAllowed
        content_type = _only(request, "content-type") or ""
        parameters = parse(content_type, await self._read(request))
        key = self._keys.current()
        if key is None:
            raise KeysNotConfigured(reason=self._keys.trouble)
        check_grant_type(parameters)
        credentials = presented(_only(request, "authorization"), parameters)
        self._require_fresh()
        now = datetime.now(UTC)
        found = await authenticate(credentials, self._projection.client, self._catch_up, now)
        client = found.client
        check_resources(parameters, self._audience)
        granted = granted_scope(parameters, client)
        lifetime = self._tokens.lifetime_of(client, now.timestamp())
        self._usage.note(client.application_id, found.secret_id, now)
        return _encode(
            {
                "access_token": self._tokens.sign(key, client, granted, lifetime),
                "token_type": "Bearer",
                "expires_in": lifetime,
                "scope": granted,
            }
        )

    async def _read(self, request: Request) -> bytes:
        try:
            return await read_body(request, limit=self._max_body, seconds=self._body_seconds)
        except Problem as problem:
            kind = {413: BodyTooLarge, 408: BodyTooSlow}.get(problem.status, InvalidRequest)
            raise kind(reason=problem.detail) from None

    def _require_fresh(self) -> None:
        """Return while the projection may be relied on. Raises ProjectionStale."""
        now = time.monotonic()
        if now < self._fresh_until:
            return
        staleness = self._projection.staleness()
        if staleness > self._max_staleness:
            raise ProjectionStale(reason=f"projection not confirmed for {staleness:.0f} s")
        self._fresh_until = now + min(STALENESS_LOOK_SECONDS, self._max_staleness - staleness)

    async def _send_error(self, send: Send, error: OAuthError) -> None:
        headers: list[tuple[bytes, bytes]] = []
        if isinstance(error, InvalidClient):
            headers.append(self._challenge)
        if isinstance(error, MethodNotAllowed):
            headers.append((b"allow", b"POST"))
        if isinstance(error, BodyTooLarge | BodyTooSlow):
            # The rest of the body is not read: the connection is of no more use.
            headers.append((b"connection", b"close"))
        if error.status == 503:
            headers.append((b"retry-after", str(RETRY_SECONDS).encode()))
        body = _encode({"error": error.code, "error_description": error.description})
        await _send(send, error.status, body, headers)


def _only(request: Request, name: str) -> str | None:
    """Return a header's value. Raises InvalidRequest when it comes twice."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise InvalidRequest("A header is repeated.")
    return values[0] if values else None


async def _send(
    send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [length, *_ALWAYS, *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


def routes(settings: Settings, keys: KeyRing) -> Sequence[Route]:
    """Return the routes of what describes the token endpoint."""

    async def jwks(_request: Request) -> Response:
        published = keys.published()
        return json_response(
            {"keys": published},
            # Who finds none shall look again soon.
            headers={"Cache-Control": "public, max-age=300" if published else "no-cache"},
        )

    async def metadata(_request: Request) -> Response:
        key = keys.current()
        return json_response(metadata_of(settings, None if key is None else key.algorithm))

    return [
        Route("/.well-known/jwks.json", jwks, methods=["GET"]),
        Route(metadata_path(settings.issuer), metadata, methods=["GET"]),
    ]
