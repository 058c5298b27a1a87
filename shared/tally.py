"""What several worker processes have counted, as one: whoever is asked answers for all of them.

Each keeps its counters in memory, where a request pays least for them, and writes them to a file
once a second. Whoever is asked writes its own and adds up all files. What a dead worker counted
goes on counting, or sums would fall and a rate would rise; of gauges only the living have a part.
"""

import fcntl
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import CollectorRegistry

from shared.config import TALLY_VARIABLE
from shared.logs import get_logger
from shared.recurring import Recurring

COUNTED, ALIVE, ENDED = ".counted", ".alive", "ended"
FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
# Gauges of which each process has its part; see `summed_gauge`.
SUMMED = {
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
}
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
# A sample's name and its labels.
Key = tuple[str, tuple[tuple[str, str], ...]]
log = get_logger(__name__)


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """A file. `folded` are workers whose files are part of this one."""

    counts: list[tuple[Key, float]] = []
    gauges: list[tuple[Key, float]] = []
    folded: list[str] = []


_decode = msgspec.msgpack.Decoder(_Kept).decode


class Tally:
    """The files of the workers of one service; this process has one of them."""

    def __init__(self, folder: Path, registry: CollectorRegistry = REGISTRY) -> None:
        self._folder = folder
        self._registry = registry
        self._name = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._unkept = Recurring(
            log, "what was counted cannot be kept", over="what was counted is kept again"
        )
        # Not before it is locked may another one find it and take us for dead.
        with self._locked():
            # Locked as long as this process lives, and let go by whatever ends it.
            self._alive = os.open(folder / f"{self._name}{ALIVE}", FLAGS, 0o600)
            fcntl.flock(self._alive, fcntl.LOCK_EX)

    def close(self) -> None:
        """Be dead to the others."""
        os.close(self._alive)

    def keep(self) -> list[Metric]:
        """Write down what this process has counted by now, and return it."""
        found = list(self._registry.collect())
        counts = _samples(one for one in found if one.type in _SUFFIXES)
        gauges = _samples(one for one in found if one.name in SUMMED)
        try:
            self._write(f"{self._name}{COUNTED}", _Kept(counts, gauges))
        except OSError as error:
            self._unkept.say(_why(self._folder, error))
        else:
            self._unkept.over()
        return found

    def collect(self) -> Iterator[Metric]:
        """Yield what all have counted, and the gauges of this process."""
        # First of all on disk: what was told once must not be told less of later.
        found = self.keep()
        sums: dict[Key, float] = {}
        with suppress(OSError):
            self._add_others(sums)
        by_name: dict[str, list[Key]] = {}
        for key in sums:
            by_name.setdefault(key[0], []).append(key)
        for family in found:
            yield _with(family, sums, by_name)

    def _add_others(self, sums: dict[Key, float]) -> None:
        with self._locked():
            self._fold()
            _add(sums, self._read(ENDED).counts)
            for path in self._folder.glob(f"*{COUNTED}"):
                if path.name != f"{self._name}{COUNTED}":
                    kept = self._read(path.name)
                    _add(sums, kept.counts)
                    _add(sums, kept.gauges)

    def _fold(self) -> None:
        """Make the files of the dead a part of one file: workers may die again and again."""
        dead = [
            path.stem
            for path in self._folder.glob(f"*{ALIVE}")
            if path.stem != self._name and _is_free(path)
        ]
        if not dead:
            return
        ended = self._read(ENDED)
        sums = dict(ended.counts)
        for name in dead:
            # Broken off before its files were removed, it must not be counted twice.
            if name not in ended.folded:
                _add(sums, self._read(f"{name}{COUNTED}").counts)
        self._write(ENDED, _Kept(list(sums.items()), folded=dead))
        for name in dead:
            for suffix in (COUNTED, ALIVE):
                (self._folder / f"{name}{suffix}").unlink(missing_ok=True)

    def _read(self, name: str) -> _Kept:
        try:
            return _decode((self._folder / name).read_bytes())
        except (OSError, msgspec.MsgspecError):
            return _Kept()

    def _write(self, name: str, kept: _Kept) -> None:
        beside = self._folder / f"{self._name}.new"
        beside.write_bytes(msgspec.msgpack.encode(kept))
        # In one step: nobody reads half of it.
        beside.replace(self._folder / name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _is_free(path: Path) -> bool:
    with suppress(FileNotFoundError), path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    return False


def _samples(families: Iterable[Metric]) -> list[tuple[Key, float]]:
    return [(_key(one.name, one.labels), one.value) for each in families for one in each.samples]


def _key(name: str, labels: dict[str, str]) -> Key:
    return name, tuple(sorted(labels.items()))


def _add(sums: dict[Key, float], counted: Iterable[tuple[Key, float]]) -> None:
    for key, value in counted:
        sums[key] = sums.get(key, 0.0) + value


def _with(family: Metric, sums: dict[Key, float], by_name: dict[str, list[Key]]) -> Metric:
    """Return a family of this process with what the others have to add."""
    merged = Metric(family.name, family.documentation, family.type)
    own = set()
    for sample in family.samples:
        key = _key(sample.name, sample.labels)
        own.add(key)
        merged.add_sample(sample.name, sample.labels, sample.value + sums.get(key, 0.0))
    for suffix in _SUFFIXES.get(family.type, ("",)):
        for key in by_name.get(f"{family.name}{suffix}", ()):
            if key not in own:
                merged.add_sample(key[0], dict(key[1]), sums[key])
    return merged


@lru_cache(1)
def running() -> Tally | None:
    """Return the tally that this process is part of; None where it is the only one."""
    folder = os.environ.get(TALLY_VARIABLE)
    if folder is None:
        return None
    try:
        return Tally(Path(folder))
    except OSError as error:
        log.warning("this process counts for itself alone", reason=_why(Path(folder), error))
        return None


def _why(folder: Path, error: OSError) -> str:
    return f"{folder}: {error.strerror}; make room"


@contextmanager
def for_workers() -> Iterator[None]:
    """Let the processes that are started within the block count together."""
    try:
        made = TemporaryDirectory(prefix="oauthapps-", ignore_cleanup_errors=True)
    except OSError as error:
        log.warning("workers count for themselves alone", reason=error.strerror)
        yield
        return
    with made as folder:
        os.environ[TALLY_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[TALLY_VARIABLE]
