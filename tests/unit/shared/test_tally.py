"""What several worker processes have counted, as one."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared import tally
from shared.tally import ALIVE, COUNTED, Tally
from tests.support.logged import Logged
from tests.support.small_disk import SmallDisk


class Worker:
    """A worker process: its own counters, and its place in the common folder."""

    def __init__(self, folder: Path) -> None:
        registry = CollectorRegistry()
        self.requests = Counter("requests", "Some", ["outcome"], registry=registry)
        self.seconds = Histogram("seconds", "Some", buckets=(1, 2), registry=registry)
        self.position = Gauge("position", "The same for all", registry=registry)
        self.busy = Gauge("busy", "Each its own", registry=registry)
        self.tally = Tally(folder, registry)

    def tells(self, name: str, **labels: str) -> float | None:
        """Return what `/metrics` would show if it were asked."""
        found = [
            one.value
            for family in self.tally.collect()
            for one in family.samples
            if one.name == name and one.labels == labels
        ]
        assert len(found) <= 1, f"{name} is told twice"
        return found[0] if found else None


@pytest.fixture(autouse=True)
def _each_is_busy_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "SUMMED", {"busy"})


def test_whoever_is_asked_tells_what_all_have_counted(tmp_path: Path) -> None:
    """A rate over whichever worker answers is noise."""
    one, other = Worker(tmp_path), Worker(tmp_path)
    one.requests.labels("ok").inc(3)
    other.requests.labels("ok").inc(4)
    other.requests.labels("refused").inc()
    one.seconds.observe(0.5)
    other.seconds.observe(1.5)
    for worker in (one, other):
        worker.tally.keep()

    for worker in (one, other):
        assert worker.tells("requests_total", outcome="ok") == 7
        assert worker.tells("requests_total", outcome="refused") == 1
        assert worker.tells("seconds_bucket", le="1.0") == 1
        assert worker.tells("seconds_bucket", le="+Inf") == 2
        assert worker.tells("seconds_count") == 2
        assert worker.tells("seconds_sum") == 2


def test_of_gauges_those_are_added_up_of_which_each_has_its_part(tmp_path: Path) -> None:
    """The position of the log is no other for being known to two."""
    one, other = Worker(tmp_path), Worker(tmp_path)
    for worker in (one, other):
        worker.position.set(9)
        worker.busy.set(2)
        worker.tally.keep()

    assert one.tells("position") == 9
    assert one.tells("busy") == 4


def test_what_a_dead_worker_counted_goes_on_counting(tmp_path: Path) -> None:
    """A sum that falls is taken for a new start, and its rate for a flood of requests."""
    one, other = Worker(tmp_path), Worker(tmp_path)
    one.requests.labels("ok").inc(3)
    other.requests.labels("ok").inc(4)
    other.busy.set(2)
    other.tally.keep()
    other.tally.close()

    assert one.tells("requests_total", outcome="ok") == 7
    assert one.tells("requests_total", outcome="ok") == 7
    assert one.tells("busy") == 0


def test_what_was_told_once_is_kept_by_then(tmp_path: Path) -> None:
    """Whoever has answered may be killed before it writes down anything more."""
    one, other = Worker(tmp_path), Worker(tmp_path)
    other.requests.labels("ok").inc(4)
    told = other.tells("requests_total", outcome="ok")
    other.tally.close()

    assert one.tells("requests_total", outcome="ok") == told == 4


def test_the_files_of_the_dead_do_not_pile_up(tmp_path: Path) -> None:
    """A worker may die every few seconds, for days."""
    alive = Worker(tmp_path)
    for _ in range(20):
        worker = Worker(tmp_path)
        worker.requests.labels("ok").inc()
        worker.tally.keep()
        worker.tally.close()
        alive.tells("requests_total", outcome="ok")

    assert alive.tells("requests_total", outcome="ok") == 20
    assert len(list(tmp_path.glob(f"*{COUNTED}"))) == 1
    assert len(list(tmp_path.glob(f"*{ALIVE}"))) == 1


def test_files_that_were_not_removed_in_time_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes them part of the common file may be killed in between."""
    one, other = Worker(tmp_path), Worker(tmp_path)
    other.requests.labels("ok").inc(4)
    other.tally.keep()
    other.tally.close()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            one.tells("requests_total", outcome="ok")

    assert one.tells("requests_total", outcome="ok") == 4
    assert one.tells("requests_total", outcome="ok") == 4


def test_a_folder_that_is_gone_costs_the_others_counts_and_nothing_else(tmp_path: Path) -> None:
    """Whatever tidies up temporary folders must not stop the service."""
    folder = tmp_path / "gone"
    folder.mkdir()
    one = Worker(folder)
    one.requests.labels("ok").inc(3)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()

    assert one.tells("requests_total", outcome="ok") == 3


def test_on_a_full_disk_each_tells_what_it_knows(small_disk: SmallDisk, logged: Logged) -> None:
    """Metrics are worth no process: it is said once, and all are added up again afterwards."""
    one, other = Worker(small_disk.folder), Worker(small_disk.folder)
    small_disk.fill()
    for worker in (one, other):
        worker.requests.labels("ok").inc()
        for _ in range(3):
            worker.tally.keep()
    assert one.tells("requests_total", outcome="ok") == 1
    assert logged.count("what was counted cannot be kept") == 2

    small_disk.clear()
    other.tally.keep()
    assert one.tells("requests_total", outcome="ok") == 2
    assert logged.count("what was counted is kept again") == 2
