"""The results of an import of applications: the one file that has their secrets.

Its first line holds a random key, and is on disk before anything else is done. What a line of the
import gets, its id, Client ID and Client Secret, derives from that key and the line. So an
application that the log has and this file has not, since the import was killed between, is made
the same again, and no secret is ever lost.
"""

import fcntl
import hmac
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from services.registry.draws import Draws
from services.registry.json_lines import LINE_LIMIT
from services.registry.private_files import FileUnusable, faults_of

KEY_BYTES = 32
# How every file of results begins, also one whose first line was not finished.
_FIRST = b'{"kind":"import","key":"'


class ResultsUnusable(FileUnusable):
    """The file is not one to which this import may add."""


class Started(msgspec.Struct, tag_field="kind", tag="import"):
    """The first line: what everything derives from, and the log that it was done in."""

    key: bytes
    log_epoch: str

    def __repr__(self) -> str:
        """Return it without the key."""
        return f"Started(log_epoch={self.log_epoch!r})"


class Result(msgspec.Struct, tag_field="kind", tag="application", frozen=True):
    """An application that was made of a line."""

    line: int
    command_id: str
    id: str
    client_id: str
    client_secret: str
    name: str
    organization: str
    owner: str

    def __repr__(self) -> str:
        """Return it without the secret."""
        return f"Result(line={self.line}, id={self.id!r})"


class Results:
    """The file, open: what is in it already, and a place for more."""

    def __init__(self, path: Path, handle: int, started: Started, done: set[str]) -> None:
        self._path = path
        self._handle = handle
        self._key = started.key
        self._done = done

    def __contains__(self, command_id: str) -> bool:
        """Tell whether the file has what a line's command made."""
        return command_id in self._done

    @property
    def import_id(self) -> str:
        """What the events of this import have in common."""
        return Draws(self._key).command_id

    def draws(self, content: bytes) -> Draws:
        """Return what a line of the import draws, which is another for each line."""
        return Draws(hmac.digest(self._key, content, "sha256"))

    def add(self, results: list[Result]) -> None:
        """Write down what was made. Raises FileUnusable; then the file cannot be added to."""
        with faults_of(self._path):
            _write(self._handle, *results)
        self._done.update(one.command_id for one in results)


@contextmanager
def results_in(path: Path, log_epoch: str) -> Iterator[Results]:
    """Yield a new file of results with mode 0600, or one that was begun. Raises FileUnusable."""
    with faults_of(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with faults_of(path):
            _check(path, handle)
            started, done = _read(path, handle)
        if started is None:
            started = Started(secrets.token_bytes(KEY_BYTES), log_epoch)
            with faults_of(path):
                _write(handle, started)
                os.fsync(handle)
                _sync_folder(path)
        elif started.log_epoch != log_epoch:
            raise ResultsUnusable(
                f"{path}: is of an import into another log, or into this one before it was "
                "restored; give another file"
            )
        yield Results(path, handle, started, done)
        with faults_of(path):
            os.fsync(handle)
    finally:
        os.close(handle)


def _check(path: Path, handle: int) -> None:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise ResultsUnusable(f"{path}: not a regular file")
    if status.st_mode & 0o077:
        raise ResultsUnusable(f"{path}: others can read it; chmod 600 it, or give another file")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ResultsUnusable(f"{path}: another import is writing to it") from None


def _read(path: Path, handle: int) -> tuple[Started | None, set[str]]:
    """Return what is in a file, and stand at its end; a line that was not finished is removed."""
    started: Started | None = None
    done: set[str] = set()
    end = 0
    with os.fdopen(os.dup(handle), "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LINE_LIMIT), b""), start=1):
            if not line.endswith(b"\n") and (number > 1 or _FIRST.startswith(line[: len(_FIRST)])):
                break
            end += len(line)
            match number, _entry(line):
                case 1, Started(key=key) as entry if len(key) == KEY_BYTES:
                    started = entry
                case _, Result(command_id=command_id) if started is not None:
                    done.add(command_id)
                case _:
                    raise ResultsUnusable(
                        f"{path}: line {number} is not one of an import's results; give another "
                        "file"
                    )
    os.lseek(handle, end, os.SEEK_SET)
    os.ftruncate(handle, end)
    return started, done


def _entry(line: bytes) -> Started | Result | None:
    try:
        entry: Started | Result = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return entry


def _write(handle: int, *entries: Started | Result) -> None:
    left = memoryview(b"".join(msgspec.json.encode(one) + b"\n" for one in entries))
    while left:
        left = left[os.write(handle, left) :]


def _sync_folder(path: Path) -> None:
    """Let the file's name be on disk too."""
    folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


_decoder = msgspec.json.Decoder(Started | Result)
