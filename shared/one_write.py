"""One packet an answer: uvicorn writes head and body apart, and each write wakes the other side."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from shared.bounded_http import BoundedHttpProtocol

# How long a client that is told to stop sending may go on before it is cut off.
LINGER_SECONDS = 2.0


class JoinedWrites:
    """A transport that sends what was written in one turn of the event loop at once."""

    __slots__ = ("_held", "_is_body_left", "_leaving", "_loop", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        is_body_left: Callable[[], bool] = lambda: False,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._is_body_left = is_body_left
        self._leaving = False
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Hold the data until this turn ends."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)

    def flush(self) -> None:
        """Send what is held."""
        if self._held:
            held, self._held = self._held, []
            self._transport.write(b"".join(held))

    def close(self) -> None:
        """Send what is held, then close; for a client that is still sending, in two steps.

        Closed at once, the connection is reset by what still comes in, and the client loses the
        answer that tells it to stop (RFC 9112, section 9.6).
        """
        self.flush()
        if self.is_closing() or not self._is_body_left():
            self._transport.close()
            return
        self._leaving = True
        self._transport.set_protocol(_Discarding(self._transport.get_protocol()))
        self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(LINGER_SECONDS, self._transport.close)

    def is_closing(self) -> bool:
        """Tell whether nothing more can be sent."""
        return self._leaving or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Discarding(asyncio.Protocol):
    """What reads to the end without looking, and then reports that end."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)


class OneWriteProtocol(BoundedHttpProtocol):
    """uvicorn's protocol over such a transport: some 15 µs less for each answer, see `bench/`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        self.transport = cast(
            "asyncio.Transport", JoinedWrites(transport, self.loop, self._is_body_left)
        )

    def is_coming(self) -> bool:
        """Tell whether the head of a request has begun to come, or a first one can come."""
        cycle: Any = self.cycle
        return cycle is None or self._since_head > 0

    def break_off(self) -> None:
        """End the connection if it is in the middle of an answer."""
        cycle: Any = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()
