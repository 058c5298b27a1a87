"""Serving: one or several applications in one event loop, stopped together by a signal."""

import asyncio
import functools
import signal
import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from shared import request_ids, sections
from shared.garbage import settle
from shared.logs import get_logger
from shared.one_write import OneWriteProtocol
from shared.proxies import ForwardedHeaders
from shared.short_way import ShortWayProtocol
from shared.stopping import CLOSE, STOPPING, last_at
from shared.web import problem_response

# How long requests may go on once nobody is let in any more, and how long their handlers to notice
# that they were cut off.
GRACEFUL_SECONDS = 1
NOTICE_SECONDS = 0.05
# The same where others are still sent here while the service stops, and how long a connection that
# was just made may wait with its request.
DRAINED_SECONDS = 5
FIRST_REQUEST_SECONDS = 0.5
# How long an answer's date may be out.
DATE_SECONDS = 1
POLL_SECONDS = 0.005
NO_SETTINGS = sections.Server()
log = get_logger(__name__)


class PortInUse(Exception):
    """Another program listens on the port."""


def bind(host: str, port: int, *, option: str) -> socket.socket:
    """Return a listening socket. Raises PortInUse, which names the option that moves the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, since asyncio asks for it before it sends small answers without delay.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A port whose last connections linger in TIME_WAIT is free; one that is listened on is not.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        message = (
            f"cannot listen on {host}:{port} ({error.strerror}); "
            f"end the program that does, or choose another port with {option}"
        )
        raise PortInUse(message) from None
    listener.setblocking(False)
    return listener


class Server(uvicorn.Server):
    """A uvicorn server whose signals are its owner's business."""

    def __init__(self, app: Starlette, settings: sections.Server = NO_SETTINGS) -> None:
        super().__init__(
            uvicorn.Config(
                ForwardedHeaders(self._answer, settings.proxies),
                interface="asgi3",
                http=ShortWayProtocol,
                proxy_headers=False,
                log_config=None,
                access_log=False,
                server_header=False,
            )
        )
        self.app = app
        self.app.state.is_stopping = False
        self._drain_seconds = settings.drain.total_seconds()
        self._told_to_stop = asyncio.Event()
        self._told_to_hurry = asyncio.Event()
        self._is_cutting_off = False

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave the process's signals alone."""
        return nullcontext()

    def stop(self) -> None:
        """Be no longer ready, and take no more requests once `drain` has passed."""
        self.app.state.is_stopping = self.should_exit = True
        self._told_to_stop.set()

    def hurry(self) -> None:
        """Let `drain` have passed."""
        self._told_to_hurry.set()

    async def main_loop(self) -> None:
        """Keep the date of the answers until told to stop; uvicorn notices that late."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(DATE_SECONDS):
                    await self._told_to_stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what runs and the application, as uvicorn does, but without its pauses."""
        if self._drain_seconds:
            await self._drain()
        stopping: asyncio.Event | None = getattr(self.app.state, "stopping", None)
        if stopping is not None:
            # Long polls answer at once, and the others finish.
            stopping.set()
        last = [connection for one in sockets or () for connection in last_at(one)]
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in last:
            await self._let_in(connection)
        if not await self._have_all_finished(
            DRAINED_SECONDS if self._drain_seconds else GRACEFUL_SECONDS
        ):
            await self._cut_off()
        await self.lifespan.shutdown()

    async def _drain(self) -> None:
        """Go on, while those who send requests here learn to go elsewhere.

        Each connection ends with its next answer. Whoever keeps unused ones for less time than this
        has none left in the end.
        """
        self.config.encoded_headers.append(CLOSE)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._drain_seconds
        while (left := until - loop.time()) > 0 and not self._told_to_hurry.is_set():
            # Puts the headers in force, with the date.
            await self.on_tick(0)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, DATE_SECONDS)):
                    await self._told_to_hurry.wait()

    async def _let_in(self, connection: socket.socket) -> None:
        """Serve one who came last."""
        protocol: Any = functools.partial(
            ShortWayProtocol,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        with suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)

    async def _have_all_finished(self, seconds: float) -> bool:
        """Close what is idle, and wait for what is under way, so long at most."""
        loop = asyncio.get_running_loop()
        first_request_until = loop.time() + FIRST_REQUEST_SECONDS if self._drain_seconds else 0
        try:
            async with asyncio.timeout(seconds):
                # One that was accepted is among the connections a turn later.
                await asyncio.sleep(0)
                while self.server_state.connections or self.server_state.tasks:
                    is_waited_for = loop.time() < first_request_until
                    for one in list(self.server_state.connections):
                        # Idle ones close, the others once they have answered.
                        if not (is_waited_for and is_coming(one)):
                            one.shutdown()
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            return False
        return True

    async def _cut_off(self) -> None:
        """Break off the answers that have begun; those that wait for one are told, see below."""
        self._is_cutting_off = True
        for connection in list(self.server_state.connections):
            if isinstance(connection, OneWriteProtocol):
                connection.break_off()
        if not await self._have_all_finished(NOTICE_SECONDS):
            for task in list(self.server_state.tasks):
                task.cancel()
            await self._have_all_finished(GRACEFUL_SECONDS)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            if scope["type"] != "http" or not self._is_cutting_off:
                raise
            log.warning("request cut off by the end of the service", path=scope["path"])
            # Nobody hears it where an answer has begun: that connection is broken off.
            response = problem_response(STOPPING)
            if (request_id := request_ids.current()) is not None:
                response.headers["X-Request-Id"] = request_id
            await response(scope, receive, send)


class StartFailed(Exception):
    """A service ended before it began to serve; the log says why."""


def is_coming(connection: object) -> bool:
    """Tell whether a request has begun to come, or a first one can come."""
    return isinstance(connection, OneWriteProtocol) and connection.is_coming()


def run(app: Starlette, listener: socket.socket, settings: sections.Server) -> None:
    """Serve one application in a process of its own. Raises StartFailed."""
    uvloop.run(serve([(Server(app, settings), listener)]))


async def serve(servers: Sequence[tuple[Server, socket.socket]]) -> None:
    """Serve until SIGINT or SIGTERM; then end, the last first. Raises StartFailed.

    So each may rely on those before it until its own end. A second Ctrl-C ends them at once; a
    second SIGTERM is the same wish once more, of whoever tells each process of a service.
    """
    settle()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if stopping.is_set():
            for server, _ in servers:
                server.hurry()
        stopping.set()

    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGTERM, stopping.set)

    async def serve_one(server: Server, listener: socket.socket) -> None:
        try:
            await server.serve(sockets=[listener])
        finally:
            # One that ended by itself takes the others with it: half a system helps nobody.
            stopping.set()

    async with asyncio.TaskGroup() as group:
        tasks = [
            (server, group.create_task(serve_one(server, listener))) for server, listener in servers
        ]
        await stopping.wait()
        for server, task in reversed(tasks):
            server.stop()
            await asyncio.wait([task])
    if not all(server.started for server, _ in servers):
        message = "a service could not start; the log above says why"
        raise StartFailed(message)
