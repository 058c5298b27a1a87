"""Containers of the tests end with the run, and those of a run that was killed with the next."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.container_postgres import IMAGE
from tests.support.containers import OWNER_LABEL, new_container, remove_leftovers


@pytest.fixture
def killed_run() -> int:
    """The process id of somebody who is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def container() -> Iterator[Any]:
    """One that does nothing."""
    container = new_container(IMAGE).with_command("sleep infinity")
    yield container
    docker("rm", "--force", container.get_container_id())


def docker(*arguments: str) -> int:
    return subprocess.run(["docker", *arguments], check=False, capture_output=True).returncode


def is_there(container: Any) -> bool:
    return docker("inspect", container.get_container_id()) == 0


def test_what_a_killed_run_left_is_removed(container: Any, killed_run: int) -> None:
    """Nobody else would ever remove it."""
    container.with_kwargs(labels={OWNER_LABEL: f"{socket.gethostname()} {killed_run}"})
    container.start()
    remove_leftovers()

    assert not is_there(container)


@pytest.mark.parametrize("owner", ["{host} {us}", "another-machine {gone}"])
def test_what_others_use_stays(container: Any, killed_run: int, owner: str) -> None:
    """Several runs share an engine, and so may machines."""
    label = owner.format(host=socket.gethostname(), us=os.getpid(), gone=killed_run)
    container.with_kwargs(labels={OWNER_LABEL: label})
    container.start()
    remove_leftovers()

    assert is_there(container)
