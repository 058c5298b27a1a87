"""A network that can be broken: a proxy between a client and a server."""

import asyncio
import socket
import struct
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK = 65_536


class TcpProxy:
    """Listens on a free port of loopback and forwards to a port, or to a Unix socket.

    Its faults can be combined; `release` ends all of them.
    """

    def __init__(self, target: tuple[str, int] | Path) -> None:
        self.target = target
        self.host = "127.0.0.1"
        self.port = 0
        self.connections = 0
        self._upstream = _gate()
        self._downstream = _gate()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._forwarding: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.cut()
        await asyncio.gather(*self._forwarding, return_exceptions=True)

    def hold_upstream(self) -> None:
        """Keep what the client sends; connections stay open, as over a link gone silent."""
        self._upstream.clear()

    def hold_downstream(self) -> None:
        """Keep what the server answers: it has done the work, and nobody hears of it."""
        self._downstream.clear()

    def drop_connections(self) -> None:
        """Reset all connections; new ones are welcome."""
        for writer in self._writers:
            _reset(writer)
        self._writers.clear()
        for task in self._forwarding:
            task.cancel()

    async def cut(self) -> None:
        """Reset all connections and refuse new ones, until `release`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop_connections()

    async def release(self) -> None:
        """Forward what was kept, and take connections again on the same port."""
        self._upstream.set()
        self._downstream.set()
        if self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._forward, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _forward(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._forwarding.add(task)
        task.add_done_callback(self._forwarding.discard)
        self._writers.add(back)
        try:
            server, forth = await self._connect()
        except OSError:
            await self._end(back, politely=False)
            return
        self._writers.add(forth)
        is_over = False
        directions = [
            asyncio.ensure_future(_pump(client, forth, self._upstream)),
            asyncio.ensure_future(_pump(server, back, self._downstream)),
        ]
        try:
            await asyncio.gather(*directions)
            is_over = True
        except OSError:
            pass
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            for writer in (back, forth):
                await self._end(writer, politely=is_over)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, Path):
            return await asyncio.open_unix_connection(self.target)
        return await asyncio.open_connection(*self.target)

    async def _end(self, writer: asyncio.StreamWriter, *, politely: bool) -> None:
        self._writers.discard(writer)
        if politely:
            writer.close()
        else:
            _reset(writer)
        with suppress(OSError):
            await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a crash does, not with a goodbye."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: asyncio.Event
) -> None:
    while chunk := await source.read(CHUNK):
        await gate.wait()
        sink.write(chunk)
        await sink.drain()
    await gate.wait()
    # One direction may end before the other.
    with suppress(OSError, NotImplementedError):
        sink.write_eof()
