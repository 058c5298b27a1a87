"""The short way: a request that came whole is answered without the steps that streams need.

Most of what a server does for a request serves bodies that come in parts and answers that go out
in parts. An application may offer the short way for an address, by what its lifespan yields:
`{SHORT_WAYS: {b"/path": responder}}`. It is for POST with a body, all of it in one piece with its
head, on a connection that goes on. Every other request goes uvicorn's own way, to the application.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from shared import request_ids
from shared.logs import get_logger
from shared.one_write import OneWriteProtocol
from shared.problem import PROBLEM_MEDIA_TYPE
from shared.stopping import CLOSE, STOPPING

SHORT_WAYS = "short_ways"
Headers = tuple[tuple[bytes, bytes], ...]
# Status, headers without the length, and body.
Answer = tuple[int, Headers, bytes]
# Asked with path, headers, the other side's address and the body.
Responder = Callable[[str, Sequence[tuple[bytes, bytes]], str, bytes], Awaitable[Answer]]
_STOPPING: Answer = (
    STOPPING.status,
    (
        (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
        *((name.lower().encode(), value.encode()) for name, value in STOPPING.headers.items()),
    ),
    STOPPING.body(),
)
# Uvicorn's own way knows what they mean.
_NOT_FOR_US = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"expect", b"upgrade"})
log = get_logger(__name__)


class _Exchange:
    """What uvicorn asks of a request that is under way."""

    __slots__ = ("disconnected", "keep_alive", "response_complete")

    # The request has come whole, and no answer begins before it is complete.
    more_body = False
    response_started = False
    # Set when the connection is lost; nobody waits for it here.
    message_event = asyncio.Event()

    def __init__(self) -> None:
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False


class ShortWayProtocol(OneWriteProtocol):
    """uvicorn's protocol, with a short way for the addresses that offer it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._ways: Mapping[bytes, Responder] = self.app_state.get(SHORT_WAYS, {})
        # The body of a request that may go the short way, as long as it is not known to be whole.
        self._waiting: bytearray | None = None
        self._head: list[tuple[bytes, bytes]] = []

    def data_received(self, data: bytes) -> None:
        """Take what came; what is not whole by then goes the usual way."""
        super().data_received(data)
        if self._waiting is not None:
            body, self._waiting = bytes(self._waiting), None
            if not self.transport.is_closing():
                self.headers = self._head
                super().on_headers_complete()
                if body:
                    super().on_body(body)

    def on_headers_complete(self) -> None:
        """Choose the way."""
        cycle: Any = self.cycle
        parser = self.parser
        if (
            self.url in self._ways
            and (cycle is None or cycle.response_complete)
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not any(name in _NOT_FOR_US for name, _ in self.headers)
        ):
            self._waiting = bytearray()
            self._since_head = 0
            # Trailers are added to another list: they are no headers.
            self._head, self.headers = self.headers, []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._waiting is None:
            super().on_body(body)
        else:
            self._waiting += body

    def on_message_complete(self) -> None:
        """Begin to answer what is whole."""
        if self._waiting is None:
            super().on_message_complete()
            return
        body, self._waiting = bytes(self._waiting), None
        exchange: Any = _Exchange()
        self.cycle = exchange
        task = self.loop.create_task(self._answer(exchange, self.url, self._head, body))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _answer(
        self, exchange: _Exchange, url: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> None:
        address = self.client[0] if self.client else ""
        request_id = request_ids.begin(headers)
        try:
            answer = await self._ways[url](url.decode("ascii"), headers, address, body)
            if self.flow.write_paused:
                await self.flow.drain()
        except asyncio.CancelledError:
            # By the end of the service alone.
            log.warning("request cut off by the end of the service", path=url.decode("ascii"))
            answer = _STOPPING
        except Exception:
            log.exception("request failed", path=url.decode("ascii"))
            answer = (500, (CLOSE,), b"")
        if not exchange.disconnected and not self.transport.is_closing():
            self._send(exchange, request_id, *answer)

    def _send(
        self, exchange: _Exchange, request_id: bytes, status: int, headers: Headers, body: bytes
    ) -> None:
        always = tuple(self.server_state.default_headers)
        # A service that stops says so with every answer.
        is_last = CLOSE in headers or CLOSE in always
        if not exchange.keep_alive and not is_last:
            headers, is_last = (*headers, CLOSE), True
        elif CLOSE in headers and CLOSE in always:
            headers = tuple(one for one in headers if one != CLOSE)
        head = _written(always) + _written(headers)
        rest = b"x-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (request_id, len(body))
        # Held to the end of this turn: a caller that is woken once takes all that is for it.
        self.transport.write(b"".join((STATUS_LINE[status], head, rest, body)))
        exchange.response_complete = True
        if is_last:
            self.transport.close()
        self.on_response_complete()


# The same few headers go out again and again; the date among them is another each second.
@lru_cache(64)
def _written(headers: Headers) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in headers)
