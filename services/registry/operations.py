"""The operations of the REST API: one table from which routes and OpenAPI document are made."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog
from prometheus_client import Counter, Histogram
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, request_response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.registry.views import ApplicationView

Handler = Callable[[Request], Awaitable[Response]]
NOTHING = None
HISTORY = "History"
CLOUDEVENTS = "CloudEvents"

# By the address as the table has it: what callers put in its place is no label.
REQUESTS = Counter(
    "oauthapps_registry_http_requests_total",
    "Answers of the REST API",
    ["route", "method", "status"],
)
SECONDS = Histogram(
    "oauthapps_registry_http_request_duration_seconds",
    "From the request's head to the answer's; long polls take as long as they were told to wait",
    ["route", "method"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path: what it does (its handler's docstring), takes and answers.

    `answer` is a struct, HISTORY, CLOUDEVENTS or NOTHING; `query` maps parameters to schemas.
    """

    method: str
    path: str
    handler: Handler
    scope: str
    answer: type[msgspec.Struct] | str | None = ApplicationView
    status: int = 200
    body: type[BaseModel] | None = None
    body_is_optional: bool = False
    body_type: str = "application/json"
    answer_type: str = "application/json"
    stream_type: str | None = None
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    conditional: bool = False
    refusals: Sequence[int] = ()


# Answers the requests of an operation.
Edge = Callable[[Operation, Request], Awaitable[Response]]


def routes_of(operations: Iterable[Operation], edge: Edge) -> list[Route]:
    """Return a route for each path; the edge answers."""
    paths: dict[str, dict[str, Operation]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method] = one
    return [_route(path, methods, edge) for path, methods in paths.items()]


def _route(path: str, methods: Mapping[str, Operation], edge: Edge) -> Route:
    async def dispatch(request: Request) -> Response:
        structlog.contextvars.bind_contextvars(method=request.method, path=request.url.path)
        method = "GET" if request.method == "HEAD" else request.method
        return await edge(methods[method], request)

    return Route(path, _WithHeaders(path, request_response(dispatch)), methods=list(methods))


class _WithHeaders:
    """Puts `request.state.headers` into the answer, also into a problem's, and counts it."""

    def __init__(self, path: str, app: ASGIApp) -> None:
        self._path = path
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = time.perf_counter() - begun
                method = "GET" if scope["method"] == "HEAD" else scope["method"]
                SECONDS.labels(self._path, method).observe(seconds)
                REQUESTS.labels(self._path, method, f"{message['status'] // 100}xx").inc()
                headers: Mapping[str, str] = scope.get("state", {}).get("headers", {})
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode()) for name, value in headers.items()),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)
