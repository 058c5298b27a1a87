"""What every answer tells a browser, unless the answer itself says something else.

APIs are not for browsers, yet anybody can lead one to their addresses. Then nothing that stands in
an answer is run, shown in a frame, taken for another type, or kept.
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

from shared.request_context import IsOurs, Traced, WithRequestId, nobody_is
from shared.tracing import OFF, Tracing

Headers = tuple[tuple[bytes, bytes], ...]

YEAR_SECONDS = 31_536_000
_ALWAYS: Headers = (
    (
        b"content-security-policy",
        b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


def headers_at(public_url: str) -> Headers:
    """Return the headers of a service that is reached there; behind TLS it stays so for a year."""
    if urlsplit(public_url).scheme != "https":
        return _ALWAYS
    strict = f"max-age={YEAR_SECONDS}; includeSubDomains".encode()
    return (*_ALWAYS, (b"strict-transport-security", strict))


def added(headers: Iterable[tuple[bytes, bytes]], defaults: Headers) -> Headers:
    """Return headers of an answer, with those of the defaults that it has not."""
    own = tuple(headers)
    names = {name.lower() for name, _ in own}
    return (*own, *(one for one in defaults if one[0] not in names))


class Service(Starlette):
    """An application whose answers have these headers, those about errors too; and an id."""

    def __init__(
        self,
        public_url: str,
        *,
        tracing: Tracing = OFF,
        is_ours: IsOurs = nobody_is,
        **given: Any,
    ) -> None:
        super().__init__(**given)
        self._defaults = headers_at(public_url)
        self._answer = WithRequestId(Traced(super().__call__, tracing, is_ours=is_ours))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = added(message.get("headers", ()), self._defaults)
                message = {**message, "headers": list(headers)}
            await send(message)

        await self._answer(scope, receive, with_headers)
