"""What may be used once."""

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from services.token.errors import NoRoom
from services.token.replays import Replays
from tests.support.given_up import GivenUp


def test_a_name_is_new_until_it_was_seen_and_again_when_it_has_expired(tmp_path: Path) -> None:
    """Another one is another one."""
    replays = Replays(tmp_path / "r")
    assert replays.is_new("a", until=100.0, now=0.0)
    assert not replays.is_new("a", until=100.0, now=99.0)
    assert replays.is_new("b", until=100.0, now=99.0)
    assert replays.is_new("a", until=300.0, now=101.0)
    assert not replays.is_new("a", until=300.0, now=250.0)
    replays.close()


def test_it_is_remembered_by_another_process_too(tmp_path: Path) -> None:
    """Of the same host, and after a restart."""
    first = Replays(tmp_path / "r")
    first.is_new("a", until=100.0, now=0.0)
    first.close()
    second = Replays(tmp_path / "r")
    assert not second.is_new("a", until=100.0, now=1.0)
    second.close()


def test_what_has_expired_is_forgotten(tmp_path: Path) -> None:
    """As new ones come, a few at a time: the store does not grow with the years."""
    replays = Replays(tmp_path / "r")
    for n in range(1000):
        assert replays.is_new(str(n), until=n + 10.0, now=float(n))
    assert len(replays) < 20
    replays.close()


def test_without_room_nothing_is_taken(tmp_path: Path) -> None:
    """Fail closed: what cannot be remembered could come twice."""
    replays = Replays(tmp_path / "r", map_size=2**17)

    def fill() -> None:
        for n in range(100_000):
            replays.is_new(str(n), until=1e9, now=0.0)

    with pytest.raises(NoRoom):
        fill()
    assert not replays.is_new("0", until=1e9, now=0.0)
    replays.close()


def test_a_damaged_store_is_made_anew_and_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    """The service starts after a loss of power, and says what stands in its way."""
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "data.mdb").write_bytes(b"x" * 10_000)
    replays = Replays(tmp_path / "r")
    assert replays.is_new("a", until=1.0, now=0.0)
    replays.close()
    (tmp_path / "file").write_text("")
    replays = Replays(tmp_path / "file")
    assert "cannot be opened (File exists)" in (replays.trouble or "")
    with pytest.raises(NoRoom):
        replays.is_new("a", until=1.0, now=0.0)
    (tmp_path / "file").unlink()
    assert replays.trouble is None
    assert replays.is_new("a", until=1.0, now=0.0)
    replays.close()


def test_it_goes_on_after_a_failure_that_lmdb_does_not_get_over(tmp_path: Path) -> None:
    """Such as a disk without room for its first page: it is opened again."""
    replays = Replays(tmp_path / "r")
    assert replays.is_new("a", until=1e12, now=0.0)
    given_up: Any = GivenUp(replays._environment)
    replays._environment = given_up
    with pytest.raises(NoRoom):
        replays.is_new("b", until=1e12, now=0.0)
    assert replays.trouble is None
    assert not replays.is_new("a", until=1e12, now=0.0)
    replays.close()


def test_workers_that_find_it_damaged_together_know_of_each_other(tmp_path: Path) -> None:
    """Each with a store of its own would take what the other has taken."""
    for number in range(8):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "data.mdb").write_bytes(b"x" * 10_000)
        assert sorted(_answers_of_two_workers(folder)) == [False, True]


def _answers_of_two_workers(folder: Path) -> list[bool]:
    forks = multiprocessing.get_context("fork")
    begin, opened, answers = forks.Barrier(2), forks.Barrier(2), forks.Queue()
    workers = [
        forks.Process(target=lambda: answers.put(_answer(folder, begin, opened))) for _ in range(2)
    ]
    for one in workers:
        one.start()
    found: list[bool] = [answers.get(timeout=30) for _ in workers]
    for one in workers:
        one.join()
    return found


def _answer(folder: Path, begin: Barrier, opened: Barrier) -> bool:
    begin.wait()
    replays = Replays(folder)
    opened.wait()
    return replays.is_new("a", until=100.0, now=0.0)
