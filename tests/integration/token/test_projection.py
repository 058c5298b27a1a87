"""The projection on a real LMDB store."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import lmdb
import pytest

from services.token import freshness
from services.token import projection as projection_module
from services.token.projection import (
    CursorMoved,
    Projection,
    ProjectionDamaged,
    ProjectionUnavailable,
)
from shared.clients import ClientRecord, SnapshotHead, checksum
from shared.credentials import new_client_secret
from shared.envelope import Envelope
from shared.subscription import BEGINNING, Cursor
from tests.support.given_up import GivenUp
from tests.unit.token.factories import NOON, Application, client_record, envelope, fold

MAP_SIZE = 64 * 2**20
EPOCH = "e1"


@pytest.fixture
def projection(tmp_path: Path) -> Iterator[Projection]:
    store = Projection(tmp_path, map_size=MAP_SIZE)
    yield store
    store.close()


async def snapshot(records: list[ClientRecord]) -> AsyncIterator[ClientRecord]:
    for record in sorted(records, key=lambda one: one.client_id):
        yield record


async def filled(projection: Projection, *records: ClientRecord, position: int = 0) -> None:
    head = SnapshotHead(log_epoch=EPOCH, position=position)
    await projection.replace_all(head, snapshot(list(records)))


def lives(count: int) -> list[Envelope]:
    """Return the interleaved lives of some applications."""
    chance = random.Random(7)  # noqa: S311 - the same lives each time
    applications = [Application() for _ in range(count)]
    told = [one.created() for one in applications]
    for _ in range(count * 4):
        one = chance.choice(applications)
        told.append(
            chance.choice(
                [
                    one.deactivated(),
                    one.activated(),
                    one.updated(),
                    one.tokens_revoked(NOON + timedelta(seconds=chance.randrange(100))),
                    one.secret_revoked("s1"),
                    one.rotated(new_client_secret(), others_expire_at=NOON),
                    one.deleted(),
                ]
            )
        )
    return [envelope(position, one) for position, one in enumerate(told, start=1)]


async def test_an_empty_store_knows_nothing_and_was_never_fresh(projection: Projection) -> None:
    """It must be filled before anybody is refused by it."""
    assert projection.cursor() == BEGINNING
    assert projection.staleness() == float("inf")
    assert projection.client("x" * 32) is None


@pytest.mark.parametrize("page", [1, 7, 1000])
async def test_the_store_is_the_fold_of_the_log_however_it_is_paged(
    projection: Projection, page: int
) -> None:
    """A projection at p equals the pure fold of events 1 to p, by checksum."""
    envelopes = lives(25)
    await filled(projection)

    for start in range(0, len(envelopes), page):
        run = envelopes[start : start + page]
        await projection.apply(run, Cursor(EPOCH, run[-1].position))

    expected = (Cursor(EPOCH, len(envelopes)), checksum(fold(envelopes)))
    assert expected == projection.checksum()
    assert len(fold(envelopes)) == projection.count()


async def test_a_snapshot_gives_the_store_that_the_events_give(tmp_path: Path) -> None:
    """Replicas compare by checksum, whichever way they came to where they are."""
    envelopes = lives(25)
    by_events = Projection(tmp_path / "a", map_size=MAP_SIZE)
    by_snapshot = Projection(tmp_path / "b", map_size=MAP_SIZE)
    await filled(by_events)
    await by_events.apply(envelopes, Cursor(EPOCH, len(envelopes)))
    await filled(by_snapshot, *fold(envelopes), position=len(envelopes))

    assert by_events.checksum() == by_snapshot.checksum()

    by_events.close()
    by_snapshot.close()


async def test_repeated_events_change_nothing(projection: Projection) -> None:
    """A rotation applied twice would add its secret twice."""
    application = Application()
    run = [
        envelope(1, application.created()),
        envelope(2, application.rotated(new_client_secret(), others_expire_at=NOON)),
    ]
    await filled(projection)
    await projection.apply(run, Cursor(EPOCH, 2))
    before = projection.checksum()

    await projection.apply(run, Cursor(EPOCH, 2))
    await projection.apply(run[:1], Cursor(EPOCH, 1))

    assert before == projection.checksum()


async def test_events_that_do_not_follow_the_store_are_refused(projection: Projection) -> None:
    """Whoever was overtaken by a rebuild reads its cursor again instead of making a hole."""
    application = Application()
    await filled(projection, position=5)
    before = projection.checksum()

    with pytest.raises(CursorMoved):
        await projection.apply([envelope(7, application.created())], Cursor(EPOCH, 7))
    with pytest.raises(CursorMoved):
        await projection.apply([envelope(6, application.created())], Cursor("another", 6))

    assert before == projection.checksum()


async def test_confirming_never_moves_the_cursor(
    projection: Projection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A projector that missed a rebuild would set the cursor back over the new rows."""
    await filled(projection, position=5)
    monkeypatch.setattr(projection, "_confirm_seconds", 0.0)

    with pytest.raises(CursorMoved):
        await projection.confirm(Cursor(EPOCH, 3))
    with pytest.raises(CursorMoved):
        await projection.confirm(Cursor("another", 5))

    assert projection.cursor() == Cursor(EPOCH, 5)


async def test_a_confirmation_makes_the_store_fresh(
    projection: Projection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other workers and a restarted process read it."""
    await filled(projection)
    real = freshness.now()
    later = real.boot_seconds + 100
    monkeypatch.setattr(
        freshness,
        "now",
        lambda: freshness.Moment(boot_id=real.boot_id, boot_seconds=later, wall_seconds=0.0),
    )

    assert 99 < projection.staleness() <= 101
    await projection.confirm(Cursor(EPOCH, 0))
    assert projection.staleness() == 0


async def test_a_store_survives_its_process(tmp_path: Path) -> None:
    """A restart needs neither registry nor replay."""
    application = Application()
    first = Projection(tmp_path, map_size=MAP_SIZE)
    await filled(first, client_record(application), position=9)
    first.close()

    second = Projection(tmp_path, map_size=MAP_SIZE)

    assert client_record(application) == second.client(application.client_id)
    assert second.cursor() == Cursor(EPOCH, 9)
    assert second.staleness() < 60
    second.close()


async def test_a_store_that_cannot_be_opened_again_is_opened_later(
    projection: Projection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a snapshot: nobody is known meanwhile, and nothing relies on that."""
    monkeypatch.setattr(projection_module, "OPEN_SECONDS", 0.01)
    application = Application()
    await filled(projection, client_record(application), position=1)
    lock = tmp_path / "open.lock"
    lock.unlink()
    lock.mkdir()

    with pytest.raises(ProjectionUnavailable, match=r"cannot be opened \(Is a directory\)"):
        await filled(projection, client_record(application), position=2)
    assert projection.staleness() == freshness.NEVER
    assert projection.client(application.client_id) is None
    with pytest.raises(ProjectionUnavailable):
        projection.cursor()

    lock.rmdir()
    await projection.open_when_possible()
    assert projection.cursor() == Cursor(EPOCH, 2)
    assert client_record(application) == projection.client(application.client_id)


async def test_a_snapshot_that_breaks_off_changes_nothing(projection: Projection) -> None:
    """All of it or nothing: half a snapshot would refuse the other half's clients."""
    application = Application()
    await filled(projection, client_record(application), position=3)
    before = projection.checksum()

    async def broken() -> AsyncIterator[ClientRecord]:
        for record in sorted((client_record(Application()) for _ in range(4500)), key=_client_id):
            yield record
        raise ProjectionUnavailable("the connection broke")

    with pytest.raises(ProjectionUnavailable):
        await projection.replace_all(SnapshotHead(log_epoch="e2", position=8), broken())

    assert before == projection.checksum()
    # The store is not locked: the next one goes through.
    await filled(projection, position=4)
    assert projection.count() == 0


async def test_a_cancelled_snapshot_leaves_the_store_writable(projection: Projection) -> None:
    """Ctrl-C while bootstrapping must not lock out the next projector."""
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[ClientRecord]:
        begun.set()
        yield client_record(Application())
        await asyncio.Event().wait()

    task = asyncio.create_task(
        projection.replace_all(SnapshotHead(log_epoch=EPOCH, position=1), endless())
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await filled(projection, position=2)
    assert projection.cursor() == Cursor(EPOCH, 2)


async def test_a_snapshot_out_of_order_is_refused(projection: Projection) -> None:
    """LMDB would leave out rows without a word."""
    records = sorted((client_record(Application()) for _ in range(3)), key=_client_id)

    async def backwards() -> AsyncIterator[ClientRecord]:
        for record in reversed(records):
            yield record

    with pytest.raises(ProjectionUnavailable, match="not ordered"):
        await projection.replace_all(SnapshotHead(log_epoch=EPOCH, position=1), backwards())


async def test_a_rebuild_never_goes_back_behind_a_running_projector(
    projection: Projection,
) -> None:
    """A deactivation applied since the snapshot was taken must not be undone."""
    await filled(projection, position=9)

    with pytest.raises(CursorMoved):
        await projection.replace_all(
            SnapshotHead(log_epoch=EPOCH, position=8), snapshot([]), only_forward=True
        )

    assert projection.cursor() == Cursor(EPOCH, 9)


async def test_a_full_store_says_which_setting_to_raise(tmp_path: Path) -> None:
    """And goes on serving what it has."""
    store = Projection(tmp_path, map_size=2**20)
    known = Application()
    await filled(store, client_record(known))
    many = [client_record(Application(scopes=("s" * 500,))) for _ in range(4000)]

    with pytest.raises(ProjectionUnavailable, match=r"token\.projection_map_size"):
        await store.replace_all(SnapshotHead(log_epoch=EPOCH, position=1), snapshot(many))

    assert store.client(known.client_id) is not None
    store.close()


def _make_garbage(folder: Path) -> None:
    (folder / "lmdb" / "data.mdb").write_bytes(os.urandom(100_000))


def _cut(folder: Path) -> None:
    file = folder / "lmdb" / "data.mdb"
    os.truncate(file, 12_288)


def _replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder / "lmdb")
    (folder / "lmdb").write_text("not a folder")


def _use_for_something_else(folder: Path) -> None:
    shutil.rmtree(folder / "lmdb")
    other = lmdb.open(str(folder / "lmdb"))
    with other.begin(write=True) as transaction:
        transaction.put(b"clients", b"theirs")
    other.close()


def _spoil_the_state(folder: Path) -> None:
    other = lmdb.open(str(folder / "lmdb"), max_dbs=2)
    meta = other.open_db(b"meta")
    with other.begin(write=True) as transaction:
        transaction.put(b"state", b"\xff\xff", db=meta)
    other.close()


@pytest.mark.parametrize(
    "harm", [_make_garbage, _cut, _replace_by_file, _use_for_something_else, _spoil_the_state]
)
async def test_a_damaged_or_foreign_store_is_made_anew(
    tmp_path: Path, harm: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """The registry has it all; the log says what happened. The command line only tells."""
    store = Projection(tmp_path, map_size=MAP_SIZE)
    await filled(store, *(client_record(Application()) for _ in range(500)), position=3)
    store.close()
    assert callable(harm)
    harm(tmp_path)

    with pytest.raises(ProjectionDamaged):
        Projection(tmp_path, map_size=MAP_SIZE, repair=False)
    store = Projection(tmp_path, map_size=MAP_SIZE)

    assert store.cursor() == BEGINNING
    assert store.staleness() == float("inf")
    await filled(store, client_record(Application()), position=1)
    assert store.count() == 1
    store.close()
    said = capsys.readouterr()
    assert "making it anew from the registry" in said.out + said.err


def test_another_process_sees_what_is_committed_and_a_killed_one_harms_nobody(
    tmp_path: Path,
) -> None:
    """Kill -9 in the middle of a write: the store is as it was before it."""
    application = Application()
    store = Projection(tmp_path, map_size=MAP_SIZE)
    asyncio.run(filled(store, client_record(application), position=1))
    before = store.checksum()
    writer = subprocess.Popen(
        [sys.executable, "-c", _HALF_A_WRITE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == f"{application.client_id}\n"

    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()

    assert before == store.checksum()
    asyncio.run(filled(store, position=2))
    assert store.cursor() == Cursor(EPOCH, 2)
    store.close()


_HALF_A_WRITE = """
import sys, time
from pathlib import Path
from services.token.projection import Projection
store = Projection(Path(sys.argv[1]), map_size=64 * 2**20)
with store._environment.begin(db=store._clients) as reader:
    known = [key.decode() for key in reader.cursor().iternext(values=False)]
transaction = store._environment.begin(write=True)
transaction.drop(store._clients, delete=False)
print(*known, flush=True)
time.sleep(60)
"""


def _client_id(record: ClientRecord) -> str:
    return record.client_id


async def test_it_goes_on_after_a_failure_that_lmdb_does_not_get_over(
    projection: Projection,
) -> None:
    """Such as a disk without room for its first page: it is opened again, and answers."""
    known = Application()
    await filled(projection, client_record(known))
    projection._environment = GivenUp(projection._environment)
    with pytest.raises(ProjectionUnavailable):
        await projection.apply([envelope(1, known.deactivated())], Cursor(EPOCH, 1))
    assert projection.cursor() == Cursor(EPOCH, 0)
    assert projection.client(known.client_id) is not None
    await projection.apply([envelope(1, known.deactivated())], Cursor(EPOCH, 1))
    assert projection.cursor() == Cursor(EPOCH, 1)


async def test_a_store_whose_last_pages_were_never_written_is_whole(tmp_path: Path) -> None:
    """What is added and made empty by one transaction leaves the file shorter than LMDB counts."""
    chance = random.Random(3)  # noqa: S311 - one that brings it about
    store = Projection(tmp_path, map_size=MAP_SIZE)
    await filled(store)
    position, before = 0, list[Application]()
    for _ in range(3):
        now = [Application(client_id=f"{chance.getrandbits(128):032x}") for _ in range(100)]
        told = [*(one.created() for one in now), *(one.deleted() for one in before)]
        envelopes = [envelope(position + n, one) for n, one in enumerate(told, start=1)]
        position, before = position + len(told), now
        await store.apply(envelopes, Cursor(EPOCH, position))
    store.close()
    opened = Projection(tmp_path, map_size=MAP_SIZE, repair=False)
    assert opened.cursor() == Cursor(EPOCH, position)
    opened.close()
