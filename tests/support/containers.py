"""Containers for the tests, where a Docker engine answers and has the image.

`OAUTHAPPS_TEST_CONTAINERS=no` does without them.
"""

import os
import shutil
import socket
import subprocess
from abc import ABC, abstractmethod
from functools import cache
from types import TracebackType
from typing import Any, Self

from tests.support.eventually import eventually

CONTAINERS_VARIABLE = "OAUTHAPPS_TEST_CONTAINERS"
# Says whose a container is; the next run removes those whose owner is gone.
OWNER_LABEL = "oauthapps.tests"
ASK_SECONDS = 10


@cache
def obstacle(image: str) -> str:
    """Return why no container of an image can be had; nothing where it can."""
    if os.environ.get(CONTAINERS_VARIABLE) == "no":
        return f"{CONTAINERS_VARIABLE} is no"
    if shutil.which("docker") is None:
        return "there is no docker"
    try:
        if _docker("version").returncode != 0:
            return "no Docker engine answers"
        has_image = _docker("image", "inspect", image).returncode == 0
    except subprocess.TimeoutExpired:
        return f"the Docker engine does not answer within {ASK_SECONDS} s"
    return "" if has_image else f"the Docker engine has no image {image}"


def new_container(image: str, *ports: int) -> Any:
    """Return a container that has not started; its ports will be published."""
    # Imported late: it brings a Docker client along, and few runs need it.
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    # Its clean-up runs in a container of another image. Ours does without.
    testcontainers_config.ryuk_disabled = True
    remove_leftovers()
    owned = DockerContainer(image, labels={OWNER_LABEL: f"{socket.gethostname()} {os.getpid()}"})
    return owned.with_exposed_ports(*ports)


class RunningContainer(ABC):
    """A container that runs as long as a block, which begins when it is ready."""

    def __init__(self, container: Any, *, seconds: float) -> None:
        """Let it have so long to become ready."""
        self._container = container
        self._seconds = seconds

    async def __aenter__(self) -> Self:
        try:
            self._container.start()
            await eventually(self._is_ready, self._seconds)
        except BaseException:
            self._container.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._container.stop()

    @abstractmethod
    async def _is_ready(self) -> bool:
        """Tell whether what is in it does its work."""


def remove_leftovers() -> None:
    """Remove the containers of test processes of this machine that were killed."""
    ours = "{{.ID}} {{.Label " + f'"{OWNER_LABEL}"' + "}}"
    listed = _docker("ps", "--all", "--filter", f"label={OWNER_LABEL}", "--format", ours)
    for line in listed.stdout.splitlines():
        container, host, pid = line.split()
        if host == socket.gethostname() and not _is_alive(int(pid)):
            _docker("rm", "--force", "--volumes", container)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _docker(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["docker", *arguments], check=False, capture_output=True, text=True, timeout=ASK_SECONDS
    )
