"""Serving one application from several worker processes that share the port."""

import socket

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from shared.server import GRACEFUL_SECONDS, StartFailed
from shared.short_way import ShortWayProtocol
from shared.tally import for_workers


def serve_with_workers(listener: socket.socket, count: int, *, factory: str) -> None:
    """Serve in worker processes that read the environment; one that dies is replaced.

    `factory` is the function that makes the application there: `package.module:function`.

    Raises StartFailed.
    """
    config = uvicorn.Config(
        factory,
        factory=True,
        workers=count,
        loop="uvloop",
        http=ShortWayProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )
    supervisor = Multiprocess(config, sockets=[listener])
    with for_workers():
        supervisor.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        raise StartFailed("a worker could not start; the log above says why")
