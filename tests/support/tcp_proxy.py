"""A network that can be broken: a proxy between a client and a server."""

import asyncio
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
            writer.transport.abort()
        self._writers.clear()

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
            await self._abort(back)
            return
        self._writers.add(forth)
        directions = [
            asyncio.ensure_future(_pump(client, forth, self._upstream)),
            asyncio.ensure_future(_pump(server, back, self._downstream)),
        ]
        try:
            await asyncio.gather(*directions)
        except OSError:
            pass
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            await self._abort(back)
            await self._abort(forth)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, Path):
            return await asyncio.open_unix_connection(self.target)
        return await asyncio.open_connection(*self.target)

    async def _abort(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


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
