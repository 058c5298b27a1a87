"""Cross-origin requests: which pages may call from a browser (the Fetch standard, "CORS protocol").

Credentials are never allowed: our callers present tokens, not cookies.
"""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.sections import Cors

# What our own APIs read.
REQUEST_HEADERS = ("Authorization", "Content-Type", "If-Match", "Idempotency-Key", "Last-Event-ID")
# What a page may see of an answer, besides what it may always.
ANSWER_HEADERS = (
    "ETag",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Log-Epoch",
    "Log-Head",
    "Idempotency-Replayed",
    "WWW-Authenticate",
    "X-Request-Id",
)


def for_origins(app: ASGIApp, cors: Cors, *, methods: Sequence[str]) -> ASGIApp:
    """Return an application that pages of the allowed origins may call; without any, itself."""
    if not cors.allow_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=cors.allow_origins,
        allow_methods=methods,
        allow_headers=[*REQUEST_HEADERS, *cors.allow_headers],
        expose_headers=ANSWER_HEADERS,
        max_age=int(cors.max_age.total_seconds()),
    )


def allow_origins(app: Starlette, cors: Cors, *, at: Sequence[str], methods: Sequence[str]) -> None:
    """Let pages of the allowed origins call what lies at these beginnings of paths."""
    if cors.allow_origins:
        app.add_middleware(_AtPaths, cors=cors, at=tuple(at), methods=methods)


class _AtPaths:
    def __init__(
        self, app: ASGIApp, cors: Cors, at: tuple[str, ...], methods: Sequence[str]
    ) -> None:
        self._app = app
        self._open = for_origins(app, cors, methods=methods)
        self._at = at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] == "http" and scope["path"].startswith(self._at)
        await (self._open if is_open else self._app)(scope, receive, send)
