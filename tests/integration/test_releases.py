"""Every release that ever was can be brought up to date, with all that it left in its databases.

`tests/golden/releases` holds what each release left. CONTRIBUTING.md says when the next is added.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.notifier import app as notifier
from services.registry import schema as registry
from services.registry.filters import Filter, Order
from services.registry.lists import ApplicationLists
from services.registry.rebuild import rebuild
from services.registry.verification import verify
from services.registry.views import ApplicationViews
from shared.postgres import Pool, create_pool, migrate_database
from tests.integration.registry.directory import FurnishedDirectory
from tests.integration.registry.house import House, session

RELEASES = sorted((Path(__file__).parents[1] / "golden" / "releases").iterdir())
by_release = pytest.mark.parametrize("release", RELEASES, ids=lambda one: str(one.name))


async def load(dsn: str, dump: Path) -> list[str]:
    """Fill an empty database with what a release left; return the steps it had done."""
    async with session(dsn) as connection:
        await connection.execute(dump.read_text())
        rows = await connection.fetch(
            f"SELECT name FROM {dump.stem}.migrations ORDER BY number"  # noqa: S608 - a constant
        )
    return [row["name"] for row in rows]


@asynccontextmanager
async def upgraded(dsn: str) -> AsyncIterator[Pool]:
    """Bring the registry's schema up to date."""
    await migrate_database(dsn, registry.SCHEMA, registry.MIGRATIONS)
    pool = await create_pool(dsn, size=4)
    try:
        yield pool
    finally:
        pool.terminate()


@by_release
async def test_the_log_of_a_release_is_sound_after_the_upgrade(
    release: Path, database_url: str
) -> None:
    """Each of its events can be read, and the read model still says the same as they do."""
    await load(database_url, release / "registry.sql")
    async with upgraded(database_url) as pool:
        found = await verify(pool)
        done = await rebuild(pool)

        assert found.problems == ()
        assert found.events > 80
        # Nothing that a migration filled in differs from what the code would have.
        assert (done.written, done.removed) == (0, 0)


@by_release
async def test_work_goes_on_after_the_upgrade(release: Path, database_url: str) -> None:
    """Lists find what was there, and applications can be added beside it."""
    await load(database_url, release / "registry.sql")
    async with upgraded(database_url) as pool:
        directory = FurnishedDirectory(pool)
        views, lists = ApplicationViews(pool), ApplicationLists(pool)
        owner = await directory.user("owner@example.com")
        house = House(database_url, pool, directory, views, lists, owner.organizations[0], owner)
        async with house.store() as store:
            await store.append(house.application("Müller and sons").creation())
        items, _ = await lists.page(Filter(name="mull"), Order("name"), limit=10, cursor=None)

        assert [one.name for one in items] == ["Müller and sons", "Müllers Café №1"]
        assert (await verify(pool)).problems == ()


@by_release
async def test_the_mails_of_a_release_are_there_after_the_upgrade(
    release: Path, database_url: str
) -> None:
    """None is lost, and none is sent a second time."""
    await load(database_url, release / "notifier.sql")
    await migrate_database(database_url, notifier.SCHEMA, notifier.MIGRATIONS)

    async with session(database_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM notifier.deliveries") == 3


@by_release
async def test_what_a_release_did_is_still_the_beginning(release: Path, database_url: str) -> None:
    """A step that was released is never changed, renamed or removed."""
    done = await load(database_url, release / "registry.sql")

    assert done == [one.name for one in registry.MIGRATIONS[: len(done)]]
