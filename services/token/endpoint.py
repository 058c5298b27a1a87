"""What the endpoints for clients have in common: a form in, JSON out, errors as the RFCs have them.

Plain ASGI: little between the socket and the signature.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
from prometheus_client import Counter
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from services.token.client_request import ClientRequest, client_request
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
from shared.short_way import Answer, Headers
from shared.stopping import CLOSE
from shared.web import read_body

ANSWERS = Counter("oauthapps_token_requests_total", "Answers to clients", ["endpoint", "outcome"])
RETRY_SECONDS = 5
# Of an answer without content: nothing is no JSON, and some libraries would try to read it.
_EMPTY: Headers = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
_JSON: Headers = ((b"content-type", b"application/json"), *_EMPTY)
_encode = msgspec.json.Encoder().encode
log = get_logger(__name__)


class Grant(Protocol):
    """What an endpoint does with a request that was read."""

    async def __call__(
        self, request: ClientRequest, parameters: Parameters
    ) -> Mapping[str, Any] | None:
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
        """Answer a request that comes in parts, or as ASGI has it."""
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed
            body = await self._body(Request(scope, receive))
        except OAuthError as error:
            status, headers, content = self._refusal(error)
        else:
            client = scope.get("client")
            address = "" if client is None else client[0]
            status, headers, content = await self.answer(
                scope["path"], scope["headers"], address, body
            )
        fields = [*headers, (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": content})

    async def answer(
        self, path: str, headers: Iterable[tuple[bytes, bytes]], address: str, body: bytes
    ) -> Answer:
        """Answer a POST that is whole."""
        try:
            if len(body) > self._max_body:
                raise BodyTooLarge
            request = client_request(path, headers, address)
            members = await self._grant(request, parse(request.content_type, body))
        except OAuthError as error:
            return self._refusal(error)
        except Exception:
            log.exception("request failed", endpoint=self._name)
            return self._refusal(ServerError())
        self._succeeded.inc()
        return (200, _EMPTY, b"") if members is None else (200, _JSON, _encode(members))

    async def _body(self, request: Request) -> bytes:
        try:
            return await read_body(request, limit=self._max_body, seconds=self._body_seconds)
        except Problem as problem:
            kind = {413: BodyTooLarge, 408: BodyTooSlow}.get(problem.status, InvalidRequest)
            raise kind(reason=problem.detail) from None

    def _refusal(self, error: OAuthError) -> Answer:
        ANSWERS.labels(self._name, error.code).inc()
        log.info("refused", code=error.code, reason=error.reason, client_id=error.client_id)
        headers: list[tuple[bytes, bytes]] = []
        if isinstance(error, InvalidClient):
            headers.append(self._challenge)
        if isinstance(error, MethodNotAllowed):
            headers.append((b"allow", b"POST"))
        if isinstance(error, BodyTooLarge | BodyTooSlow):
            # The rest of the body is not read: the connection is of no more use.
            headers.append(CLOSE)
        if isinstance(error, UseDpopNonce):
            headers.append((b"dpop-nonce", error.nonce.encode()))
        if error.status in (429, 503):
            headers.append((b"retry-after", str(error.retry_seconds or RETRY_SECONDS).encode()))
        body = _encode({"error": error.code, "error_description": error.description})
        return error.status, (*_JSON, *headers), body
