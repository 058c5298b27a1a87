"""The files of an export and an import: for their owner only, there whole or not at all."""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from services.registry.domain import RegistryError

STANDARD = Path("-")


class FileUnusable(RegistryError):
    """A file cannot be read or written; the message says which and why."""


@contextmanager
def written(file: Path) -> Iterator[Callable[[bytes], object]]:
    """Yield what writes to a file, or to standard output for `-`. Raises FileUnusable.

    A file gets mode 0600, and its name when everything is in it.
    """
    if file == STANDARD:
        with faults_of(file):
            sys.stdout.flush()
        yield _telling(file, sys.stdout.buffer.write)
        with faults_of(file):
            sys.stdout.buffer.flush()
        return
    with faults_of(file):
        place = file.resolve()
        if place.exists() and not stat.S_ISREG(place.stat().st_mode):
            raise FileUnusable(f"{file}: not a regular file")
        # Beside its place, so that it gets there in one step. Made with mode 0600.
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with os.fdopen(handle, "wb", buffering=2**20) as target:
            yield _telling(file, target.write)
            with faults_of(file):
                target.flush()
                os.fsync(target.fileno())
        with faults_of(file):
            Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def reading(file: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Yield a file that can be read twice, and its size in bytes. Raises FileUnusable.

    What comes by a pipe is put aside on disk first.
    """
    with faults_of(file):
        source = sys.stdin.buffer if file == STANDARD else file.open("rb")
    with source:
        if file != STANDARD and source.seekable():
            with faults_of(file):
                size = source.seek(0, os.SEEK_END)
                source.seek(0)
            yield source, size
            return
        with faults_of(file):
            aside = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        with aside:
            with faults_of(file):
                shutil.copyfileobj(source, aside)
                size = aside.tell()
                aside.seek(0)
            yield aside, size


def _telling(file: Path, write: Callable[[bytes], object]) -> Callable[[bytes], object]:
    def telling(content: bytes) -> None:
        with faults_of(file):
            write(content)

    return telling


@contextmanager
def faults_of(file: Path) -> Iterator[None]:
    """Tell faults of the file from those of the database, which are of the same kind."""
    try:
        yield
    except OSError as error:
        name = "standard input or output" if file == STANDARD else str(file)
        message = f"{name}: {error.strerror or type(error).__name__}"
        raise FileUnusable(message) from None
