"""A disk that is soon full: a file system in memory of a few megabytes."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CHUNK = bytes(4096)


class SmallDisk:
    """What it has room for can be taken away and given back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no room."""
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            while os.write(descriptor, CHUNK):
                pass
        except OSError:
            # Its one end.
            return
        finally:
            os.close(descriptor)

    def clear(self) -> None:
        """Give the room back."""
        self._filler.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of four megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a disk; the drill of docs/operations.md needs none")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here, as in a container without that capability")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(("umount", "--lazy", str(folder)), check=True)
