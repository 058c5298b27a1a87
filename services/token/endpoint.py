"""What the endpoints for clients have in common: a form in, JSON out, errors as the RFCs have them.

Plain ASGI: little between the socket and the signature.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
from prometheus_client import Counter
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from services.token.errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidClient,
    InvalidRequest,
    MethodNotAllowed,
    OAuthError,
    ServerError,
    UseDpopNonce,
)
from services.token.parameters import Parameters, parse
from shared.config import Settings
from shared.logs import get_logger
from shared.problem import Problem
from shared.web import read_body

ANSWERS = Counter("oauthapps_token_requests_total", "Answers to clients", ["endpoint", "outcome"])
RETRY_SECONDS = 5
_ALWAYS = [
    (b"cache-control", b"no-store"),
    (b"pragma", b"no-cache"),
]
_encode = msgspec.json.Encoder().encode
log = get_logger(__name__)


class Grant(Protocol):
    """What an endpoint does with a request that was read."""

    async def __call__(self, request: Request, parameters: Parameters) -> Mapping[str, Any] | None:
        """Return the members of the answer, None for an empty one. Raises OAuthError."""


class Endpoint:
    """`POST` of a form by a client. Nothing leaves here but JSON of RFC 6749, section 5."""

    def __init__(self, name: str, settings: Settings, grant: Grant) -> None:
        self._name = name
        self._grant = grant
        self._max_body = settings.token.max_body
        self._body_seconds = settings.token.body_timeout.total_seconds()
        self._succeeded = ANSWERS.labels(name, "ok")
        realm = settings.token.realm.replace("\\", r"\\").replace('"', r"\"")
        self._challenge = (b"www-authenticate", f'Basic realm="{realm}"'.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            members = await self._grant(request, await self._parameters(request))
        except OAuthError as error:
            ANSWERS.labels(self._name, error.code).inc()
            log.info("refused", code=error.code, reason=error.reason, client_id=error.client_id)
            await self._send_error(send, error)
        except Exception:
            ANSWERS.labels(self._name, ServerError.code).inc()
            log.exception("request failed", endpoint=self._name)
            await self._send_error(send, ServerError())
        else:
            self._succeeded.inc()
            await _send(send, 200, b"" if members is None else _encode(members), ())

    async def _parameters(self, request: Request) -> Parameters:
        if request.method != "POST":
            raise MethodNotAllowed
        content_type = only(request, "content-type") or ""
        try:
            body = await read_body(request, limit=self._max_body, seconds=self._body_seconds)
        except Problem as problem:
            kind = {413: BodyTooLarge, 408: BodyTooSlow}.get(problem.status, InvalidRequest)
            raise kind(reason=problem.detail) from None
        return parse(content_type, body)

    async def _send_error(self, send: Send, error: OAuthError) -> None:
        headers: list[tuple[bytes, bytes]] = []
        if isinstance(error, InvalidClient):
            headers.append(self._challenge)
        if isinstance(error, MethodNotAllowed):
            headers.append((b"allow", b"POST"))
        if isinstance(error, BodyTooLarge | BodyTooSlow):
            # The rest of the body is not read: the connection is of no more use.
            headers.append((b"connection", b"close"))
        if isinstance(error, UseDpopNonce):
            headers.append((b"dpop-nonce", error.nonce.encode()))
        if error.status in (429, 503):
            headers.append((b"retry-after", str(error.retry_seconds or RETRY_SECONDS).encode()))
        body = _encode({"error": error.code, "error_description": error.description})
        await _send(send, error.status, body, headers)


def only(request: Request, name: str) -> str | None:
    """Return a header's value. Raises InvalidRequest when it comes twice."""
    raw = name.encode()
    # Not `request.headers`, which decodes them all each time.
    values = [value for key, value in request.scope["headers"] if key == raw]
    if len(values) > 1:
        raise InvalidRequest("A header is repeated.")
    return values[0].decode("latin-1") if values else None


async def _send(
    send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> None:
    length = (b"content-length", str(len(body)).encode())
    # Nothing is no JSON: some libraries would try to read it.
    kind = [(b"content-type", b"application/json")] if body else []
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [length, *kind, *_ALWAYS, *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})
