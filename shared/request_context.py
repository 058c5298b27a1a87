"""What is known of a request while it is answered: its id, and its span where it is traced."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import request_ids
from shared.short_way import Answer, Responder
from shared.tracing import Span, Tracing, leave

# Asked all the time, by machines, for a word.
NOT_TRACED = frozenset({"/livez", "/readyz", "/metrics"})
# What services ask each other belongs to a trace of theirs, or to none.
INTERNAL = "/internal/"
# Tells by the `Authorization` of a request whether it is of one of our own services.
IsOurs = Callable[[str | None], bool]


def nobody_is(_authorization: str | None) -> bool:
    """Take every request for one of somebody else's."""
    return False


class WithRequestId:
    """An application whose answers say by which id our log knows them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        header = (request_ids.HEADER, request_ids.begin(scope["headers"]))

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        await self._app(scope, receive, with_id)
        # Not after a failure: whoever logs it says of which request it is.
        request_ids.end()


class Traced:
    """An application whose requests are told of. `route` is its address, if it has only one."""

    def __init__(
        self,
        app: ASGIApp,
        tracing: Tracing,
        *,
        route: str | None = None,
        is_ours: IsOurs = nobody_is,
    ) -> None:
        self._app = app
        self._tracing = tracing
        self._route = route
        self._is_ours = is_ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        # One that was sent before the last was answered is begun by the answer to that.
        leave()
        if not self._tracing.is_on or scope["type"] != "http" or scope["path"] in NOT_TRACED:
            await self._app(scope, receive, send)
            return
        with self._begun(scope) as span:
            if span is None:
                await self._app(scope, receive, send)
            else:
                await self._answer(span, scope, receive, send)

    def _begun(self, scope: Scope) -> AbstractContextManager[Span | None]:
        method = scope["method"]
        given = _only(scope["headers"], b"traceparent")
        attributes = {"http.request.method": method}
        if not scope["path"].startswith(INTERNAL):
            return self._tracing.request(method, given, attributes)
        # In this order: whether it is of ours is read from a file.
        if given is None or not self._is_ours(_only(scope["headers"], b"authorization")):
            return nullcontext()
        return self._tracing.following(method, given, "server", attributes)

    async def _answer(self, span: Span, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                _note_status(span, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            # By the address as the table has it: callers put in its place what they like.
            route = self._route or getattr(scope.get("route"), "path", None)
            if route is not None:
                span.rename(f"{scope['method']} {route}")
                span.note({"http.route": route})


def traced_way(answer: Responder, tracing: Tracing) -> Responder:
    """Return a short way whose requests are told of; where none are, itself."""
    if not tracing.is_on:
        return answer

    async def traced(
        path: str, headers: Sequence[tuple[bytes, bytes]], address: str, body: bytes
    ) -> Answer:
        attributes = {"http.request.method": "POST", "http.route": path}
        given = _only(headers, b"traceparent")
        leave()
        with tracing.request(f"POST {path}", given, attributes) as span:
            answered = await answer(path, headers, address, body)
            if span is not None:
                _note_status(span, answered[0])
            return answered

    return traced


def _note_status(span: Span, status: int) -> None:
    span.note({"http.response.status_code": status, **_own_id()})
    if status >= 500:
        span.fail(str(status))


def _own_id() -> dict[str, str]:
    request_id = request_ids.current()
    return {} if request_id is None else {"oauthapps.request_id": request_id}


def _only(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """Return the value of a header that came once."""
    values = [value for one, value in headers if one == name]
    return values[0].decode("latin-1") if len(values) == 1 else None
