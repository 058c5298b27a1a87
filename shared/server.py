"""Serving: one or several applications in one event loop, stopped together by a signal."""

import asyncio
import signal
import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from shared.garbage import settle
from shared.logs import get_logger
from shared.one_write import OneWriteProtocol
from shared.problem import Problem
from shared.short_way import ShortWayProtocol
from shared.web import problem_response

# How long requests may go on once the end has begun, and how long their handlers to notice it.
GRACEFUL_SECONDS = 1
NOTICE_SECONDS = 0.05
# How long an answer's date may be out.
DATE_SECONDS = 1
POLL_SECONDS = 0.005
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

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                http=ShortWayProtocol,
                log_config=None,
                access_log=False,
                server_header=False,
            )
        )
        self.app = app
        self._told_to_stop = asyncio.Event()
        self._is_cutting_off = False

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave the process's signals alone."""
        return nullcontext()

    def stop(self) -> None:
        """Take no more requests; let long polls answer at once and the others finish."""
        stopping: asyncio.Event | None = getattr(self.app.state, "stopping", None)
        if stopping is not None:
            stopping.set()
        self.should_exit = True
        self._told_to_stop.set()

    async def main_loop(self) -> None:
        """Keep the date of the answers until told to stop; uvicorn notices that late."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(DATE_SECONDS):
                    await self._told_to_stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what runs and the application, as uvicorn does, but without its pauses."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        # Idle ones close, the others once they have answered.
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if not await self._have_all_finished(GRACEFUL_SECONDS):
            await self._cut_off()
        await self.lifespan.shutdown()

    async def _have_all_finished(self, seconds: float) -> bool:
        """Wait for what is under way, so long at most."""
        try:
            async with asyncio.timeout(seconds):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - sets of uvicorn's
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
            await problem_response(
                Problem(
                    503,
                    "The service stops; please try again.",
                    headers={"Retry-After": "1", "Connection": "close"},
                )
            )(scope, receive, send)


class StartFailed(Exception):
    """A service ended before it began to serve; the log says why."""


def run(app: Starlette, listener: socket.socket) -> None:
    """Serve one application in a process of its own. Raises StartFailed."""
    uvloop.run(serve([(app, listener)]))


async def serve(apps: Sequence[tuple[Starlette, socket.socket]]) -> None:
    """Serve until SIGINT or SIGTERM; then end, the last first. Raises StartFailed.

    So each may rely on those before it until its own end.
    """
    settle()
    servers = [Server(app) for app, _ in apps]
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)

    async def serve_one(server: Server, listener: socket.socket) -> None:
        try:
            await server.serve(sockets=[listener])
        finally:
            # One that ended by itself takes the others with it: half a system helps nobody.
            stopping.set()

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(serve_one(server, listener))
            for server, (_, listener) in zip(servers, apps, strict=True)
        ]
        await stopping.wait()
        for server, task in zip(reversed(servers), reversed(tasks), strict=True):
            server.stop()
            await asyncio.wait([task])
    if not all(server.started for server in servers):
        message = "a service could not start; the log above says why"
        raise StartFailed(message)
