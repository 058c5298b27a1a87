"""The log as a feed: pages, and a long poll that wakes."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
import pytest

from services.registry import feed as feed_module
from services.registry.event_store import EventStore
from services.registry.feed import Feed, Wakeup, listen, snapshot
from shared.envelope import decode_page
from shared.postgres import NotConnected, Pool, connect, create_pool
from shared.tasks import end
from tests.integration.registry.house import House, session
from tests.support.eventually import eventually

# So long that nothing but a wake-up can end a wait within a test.
FOREVER = 600.0


@pytest.fixture
def _never_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "POLL_SECONDS", FOREVER)


@asynccontextmanager
async def listening(house: House) -> AsyncIterator[Wakeup]:
    """Hear of other processes' appends."""
    wakeup = Wakeup()
    task = asyncio.create_task(listen(house.dsn, wakeup))
    try:
        await eventually(
            lambda: house.pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )
        )
        yield wakeup
    finally:
        await end(task)


def feed_of(house: House, wakeup: Wakeup | None = None) -> Feed:
    """Return a feed of a service that is not stopping."""
    return Feed(house.pool, wakeup or Wakeup(), asyncio.Event())


async def test_a_page_has_what_comes_after_a_position(house: House, store: EventStore) -> None:
    """In order, at most as many as asked for, with the head and the history it belongs to."""
    for _ in range(5):
        await store.append(house.application().creation())

    page = await feed_of(house).page(1, 3, 0)

    assert [one.position for one in page.envelopes] == [2, 3, 4]
    assert page.head == 5
    assert page.log_epoch == (await store.head()).log_epoch


async def test_the_internal_form_is_the_envelope_as_it_was_appended(
    house: House, store: EventStore
) -> None:
    """Postgres renders it; not a letter, a time or a digest may differ."""
    told = house.application('Über "CI" \\ \u2603 🚀 </script>')
    stored = await store.append(told.creation(scopes=("a", "b")))

    page = decode_page(await feed_of(house).internal(0, 10, 0))

    assert stored == page.envelopes


async def test_at_the_head_there_is_nothing(house: House, store: EventStore) -> None:
    """And without a wait that is said at once."""
    await store.append(house.application().creation())

    page = await feed_of(house).page(1, 10, 0)

    assert (page.envelopes, page.head) == ([], 1)


async def test_an_empty_log_has_a_head_of_nought(house: House) -> None:
    """Positions begin at 1."""
    assert json.loads(await feed_of(house).internal(0, 10, 0))["head"] == 0


@pytest.mark.usefixtures("_never_polls")
async def test_an_append_of_this_process_ends_the_wait(house: House) -> None:
    """Without a turn through Postgres."""
    wakeup = Wakeup()
    async with house.store(on_append=wakeup) as store, asyncio.timeout(10):
        waiting = asyncio.create_task(feed_of(house, wakeup).page(0, 10, FOREVER))
        await eventually(lambda: bool(wakeup._next._waiters))
        await store.append(house.application().creation())

        assert len((await waiting).envelopes) == 1


@pytest.mark.usefixtures("_never_polls")
async def test_an_append_of_another_process_ends_the_wait(house: House) -> None:
    """The replica that is asked is seldom the one that wrote."""
    async with listening(house) as wakeup, house.store() as elsewhere, asyncio.timeout(10):
        waiting = asyncio.create_task(feed_of(house, wakeup).page(0, 10, FOREVER))
        await eventually(lambda: bool(wakeup._next._waiters))
        await elsewhere.append(house.application().creation())

        assert len((await waiting).envelopes) == 1


@pytest.mark.usefixtures("_never_polls")
async def test_many_wait_and_all_of_them_hear_it(house: House, store: EventStore) -> None:
    """More than there are database connections: none is held while waiting."""
    async with listening(house) as wakeup, asyncio.timeout(20):
        feed = feed_of(house, wakeup)
        waiting = [asyncio.create_task(feed.page(0, 10, FOREVER)) for _ in range(50)]
        await eventually(lambda: len(wakeup._next._waiters) == 50)
        await store.append(house.application().creation())

        pages = await asyncio.gather(*waiting)
    assert [len(page.envelopes) for page in pages] == [1] * 50


async def test_an_append_that_was_not_announced_is_found_soon(
    house: House, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wake-up connection can die in silence."""
    monkeypatch.setattr(feed_module, "POLL_SECONDS", 0.05)
    async with asyncio.timeout(10):
        waiting = asyncio.create_task(feed_of(house).page(0, 10, FOREVER))
        await store.append(house.application().creation())

        assert len((await waiting).envelopes) == 1


async def test_a_wake_up_connection_that_was_lost_comes_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover ends it; nobody restarts the registry for that."""
    monkeypatch.setattr(feed_module, "RECONNECT_SECONDS", 0.05)
    heard: list[int] = []
    task = asyncio.create_task(listen(house.dsn, lambda: heard.append(1)))
    sessions = (
        " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND application_name = 'oauthapps'"
    )
    async with house.store() as store:
        try:
            await eventually(lambda: house.pool.fetchval(f"SELECT count(*) > 0 {sessions}"))
            await house.pool.execute(f"SELECT pg_terminate_backend(pid) {sessions}")
            heard.clear()

            async def is_heard() -> bool:
                from contextlib import suppress

                from services.registry.event_store import StoreUnavailable

                with suppress(StoreUnavailable):
                    await store.append(house.application().creation())
                return bool(heard)

            await eventually(is_heard)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.usefixtures("_never_polls")
async def test_a_wait_ends_when_its_time_is_up(house: House) -> None:
    """With nothing, which is an answer."""
    async with asyncio.timeout(5):
        assert (await feed_of(house).page(0, 10, 0.05)).envelopes == []


@pytest.mark.usefixtures("_never_polls")
async def test_a_wait_ends_when_the_registry_stops(house: House) -> None:
    """A long poll must not hold up the end."""
    wakeup, stopping = Wakeup(), asyncio.Event()
    feed = Feed(house.pool, wakeup, stopping)
    async with asyncio.timeout(5):
        waiting = asyncio.create_task(feed.page(0, 10, FOREVER))
        await eventually(lambda: bool(wakeup._next._waiters))
        stopping.set()

        assert (await waiting).envelopes == []


@pytest.mark.usefixtures("_never_polls")
async def test_who_is_ahead_of_the_log_hears_so_at_once(house: House, store: EventStore) -> None:
    """It comes from another history and must start over, not wait."""
    await store.append(house.application().creation())
    async with asyncio.timeout(5):
        page = await feed_of(house).page(7, 10, FOREVER)

    assert (page.envelopes, page.head) == ([], 1)


@pytest.mark.usefixtures("_never_polls")
async def test_what_is_appended_while_a_page_is_read_ends_the_wait(
    house: House,
) -> None:
    """The page does not have it, and the wake-up comes before the wait."""
    wakeup = Wakeup()
    read = house.pool.fetchrow
    pool = SimpleNamespace()
    async with house.store(on_append=wakeup) as store, asyncio.timeout(10):

        async def read_and_append(*arguments: Any) -> Any:
            row = await read(*arguments)
            pool.fetchrow = read
            await store.append(house.application().creation())
            return row

        pool.fetchrow = read_and_append
        page = await Feed(cast("Pool", pool), wakeup, asyncio.Event()).page(0, 10, FOREVER)

    assert [one.position for one in page.envelopes] == [1]


async def test_a_server_that_refuses_does_not_end_the_listening(house: House) -> None:
    """After a failover, or while a database is restored, it may be up and not for us."""
    name = urlsplit(house.dsn).path[1:]
    elsewhere = urlsplit(house.dsn)._replace(path="/postgres").geturl()
    async with listening(house), session(elsewhere) as operator:
        await operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            with pytest.raises(NotConnected, match="not currently accepting connections"):
                await connect(house.dsn)
            task = asyncio.create_task(listen(house.dsn, lambda: None))
            await asyncio.wait({task}, timeout=0.5)
            assert not task.done()
        finally:
            await operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            task.cancel()


async def test_a_snapshot_that_nobody_reads_gives_its_connection_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight readers that hang would otherwise be the end of the registry's API."""
    monkeypatch.setattr(
        feed_module, "_BOUND_SILENCE", "SET LOCAL idle_in_transaction_session_timeout = '100ms'"
    )
    pool = await create_pool(house.dsn, size=1)
    lines = cast("AsyncGenerator[bytes]", snapshot(pool))
    try:
        await anext(lines)
        async with asyncio.timeout(5):
            assert await pool.fetchval("SELECT 1") == 1
    finally:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
            await lines.aclose()
        pool.terminate()
