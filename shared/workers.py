"""Serving one application from several worker processes that share the port."""

import socket
import threading
from functools import cached_property
from typing import Any

import uvicorn
import uvloop
from uvicorn.config import STARTUP_FAILURE
from uvicorn.importer import import_from_string
from uvicorn.supervisors import multiprocess

from shared import config
from shared.server import Server, StartFailed, serve


class Worker(multiprocess.Process):
    """A process with a server like that of a service without workers."""

    @cached_property
    def server(self) -> Any:
        """The server, made in the process; its application reads the environment."""
        factory = import_from_string(self.config.app)
        return Server(factory(), config.load().server)

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop; that is this process's business, not the application's."""
        assert sockets is not None  # noqa: S101 - for the type checker: there is one
        server = self.server
        threading.Thread(target=self.always_pong, daemon=True).start()
        uvloop.run(serve([(server, one) for one in sockets]))


class Workers(multiprocess.Multiprocess):
    """uvicorn's supervision, of our workers."""

    def __init__(self, supervised: uvicorn.Config, sockets: list[socket.socket]) -> None:
        # It names the class in four places.
        multiprocess.Process = Worker  # type: ignore[misc]
        super().__init__(supervised, sockets)

    def terminate_all(self) -> None:
        """Tell all of them to stop, and let nobody in who would be left to none of them."""
        super().terminate_all()
        for one in self.sockets:
            one.close()


def serve_with_workers(listener: socket.socket, count: int, *, factory: str) -> None:
    """Serve in worker processes that read the environment; one that dies is replaced.

    `factory` is the function that makes the application there: `package.module:function`.

    Raises StartFailed.
    """
    supervised = uvicorn.Config(factory, factory=True, workers=count, log_config=None)
    supervisor = Workers(supervised, sockets=[listener])
    supervisor.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        raise StartFailed("a worker could not start; the log above says why")
