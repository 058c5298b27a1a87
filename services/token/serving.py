"""Serving tokens: in this process, or in several worker processes that share the port."""

import asyncio
import signal
import socket

import uvicorn
import uvloop
from starlette.applications import Starlette
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from services.token.one_write import OneWriteProtocol
from shared.server import GRACEFUL_SECONDS, Server, StartFailed


def serve_alone(app: Starlette, listener: socket.socket) -> None:
    """Serve in this process until SIGINT or SIGTERM. Raises StartFailed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, listener))


async def _serve(app: Starlette, listener: socket.socket) -> None:
    server = Server(app)
    server.config.http = OneWriteProtocol
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    await server.serve(sockets=[listener])
    if not server.started:
        raise StartFailed("the token service could not start; the log above says why")


def serve_with_workers(listener: socket.socket, count: int) -> None:
    """Serve in worker processes that read the environment; one that dies is replaced.

    Raises StartFailed.
    """
    config = uvicorn.Config(
        "services.token.app:from_environment",
        factory=True,
        workers=count,
        loop="uvloop",
        http=OneWriteProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )
    supervisor = Multiprocess(config, sockets=[listener])
    supervisor.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        raise StartFailed("a worker could not start; the log above says why")
