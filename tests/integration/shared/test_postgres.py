"""Migrations on a real Postgres: numbered, re-runnable, together or not at all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from shared import postgres
from shared.postgres import (
    Connection,
    DatabaseError,
    DatabaseUrl,
    Migration,
    connect,
    create_pool,
    migrate,
    migrate_database,
    migrations_in,
    require_migrated,
    wait_until_reachable,
)
from shared.sections import Database
from tests.support.ports import free_port

STEPS = [
    Migration(1, "0001_a.sql", "CREATE TABLE things.a (x integer)"),
    Migration(2, "0002_b.sql", "INSERT INTO things.a VALUES (1)"),
]
BROKEN = Migration(3, "0003_c.sql", "INSERT INTO things.a VALUES (2); SELECT 1 / 0")


@pytest_asyncio.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    """A connection to an empty database."""
    connection = await connect(database_url)
    yield connection
    await connection.close()


async def count(connection: Connection) -> int:
    """Return how often step 2 was done."""
    number: int = await connection.fetchval("SELECT count(*) FROM things.a")
    return number


async def test_each_step_is_done_once(connection: Connection) -> None:
    """At the first start all of them, at the next ones only what is new."""
    assert await migrate(connection, "things", STEPS[:1]) == ["0001_a.sql"]
    assert await migrate(connection, "things", STEPS) == ["0002_b.sql"]
    assert await migrate(connection, "things", STEPS) == []
    assert await count(connection) == 1


async def test_those_who_migrate_together_do_it_once(database_url: str) -> None:
    """Replicas start at the same moment."""
    done = await asyncio.gather(
        *(migrate_database(database_url, "things", STEPS) for _ in range(5))
    )

    assert sorted(done) == [[], [], [], [], ["0001_a.sql", "0002_b.sql"]]


async def test_a_step_that_fails_leaves_nothing_and_can_be_repeated(
    connection: Connection,
) -> None:
    """Those before it stay."""
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, "things", [*STEPS, BROKEN])
    assert await count(connection) == 1

    mended = Migration(3, "0003_c.sql", "INSERT INTO things.a VALUES (2)")
    assert await migrate(connection, "things", [*STEPS, mended]) == ["0003_c.sql"]
    assert await count(connection) == 2


async def test_a_failed_step_frees_the_lock(connection: Connection, database_url: str) -> None:
    """The next one must not wait for whoever failed."""
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, "things", [*STEPS, BROKEN])

    async with asyncio.timeout(10):
        assert await migrate_database(database_url, "things", STEPS) == []


async def test_a_newer_schema_leaves_the_version_before_running(connection: Connection) -> None:
    """An installation is upgraded process by process, and the schema is ahead in between."""
    await migrate(connection, "things", STEPS)

    await require_migrated(connection, "things", STEPS[:1])
    # Also one that is started again meanwhile, with the `migrate` before it.
    assert await migrate(connection, "things", STEPS[:1]) == []
    assert await count(connection) == 1


async def test_a_newer_schema_that_breaks_the_version_before_is_refused(
    connection: Connection,
) -> None:
    """It would fail in the middle of things, or write what nobody understands."""
    breaking = Migration(2, "0002_b.sql", "-- Why.\n-- breaks: previous\n\nDROP TABLE things.a")
    await migrate(connection, "things", [STEPS[0], breaking])

    for refused in (migrate, require_migrated):
        with pytest.raises(DatabaseError, match=r"0002_b.sql, with which.*upgrade oauthapps"):
            await refused(connection, "things", STEPS[:1])
    await require_migrated(connection, "things", [STEPS[0], breaking])


async def test_a_schema_from_before_steps_could_break_anything_is_read(
    connection: Connection,
) -> None:
    """Its table of migrations has no such column until the next one."""
    await migrate(connection, "things", STEPS)
    await connection.execute("ALTER TABLE things.migrations DROP COLUMN breaks_previous")

    await require_migrated(connection, "things", STEPS[:1])
    assert await migrate(connection, "things", STEPS) == []


async def test_an_older_schema_is_named_with_the_remedy(connection: Connection) -> None:
    """Nothing is migrated behind the operator's back."""
    with pytest.raises(DatabaseError, match="at 0 of 2: run `oauthapps migrate`"):
        await require_migrated(connection, "things", STEPS)
    await migrate(connection, "things", STEPS[:1])
    with pytest.raises(DatabaseError, match="at 1 of 2"):
        await require_migrated(connection, "things", STEPS)
    await migrate(connection, "things", STEPS)
    await require_migrated(connection, "things", STEPS)


@pytest.mark.parametrize(
    "names", [["0002_a.sql"], ["0001_a.sql", "0003_b.sql"], ["0001_a.sql", "0001_b.sql"]]
)
def test_numbers_have_no_hole_and_no_twin(tmp_path: Path, names: list[str]) -> None:
    """Two branches made the same number: that is found here, not in a database."""
    for name in names:
        (tmp_path / name).write_text("SELECT 1")

    with pytest.raises(ValueError, match="without a hole"):
        migrations_in(tmp_path)


def test_steps_come_in_order_and_other_files_are_none(tmp_path: Path) -> None:
    """A folder has a README sometimes."""
    for name in ("0002_b.sql", "0001_a.sql", "README.md", "0003_c.sql.orig"):
        (tmp_path / name).write_text("SELECT 1")

    assert [one.name for one in migrations_in(tmp_path)] == ["0001_a.sql", "0002_b.sql"]


@pytest.mark.parametrize("service", ["registry", "notifier"])
def test_our_migrations_are_numbered(service: str) -> None:
    """Read as they are packaged."""
    from importlib.resources import files

    assert migrations_in(files(f"services.{service}") / "migrations")


async def test_a_server_that_does_not_come_is_named_without_its_password() -> None:
    """The URL has it, the message has not."""
    dsn = f"postgresql://user:hunter2@127.0.0.1:{free_port()}/x"

    with pytest.raises(DatabaseError, match="does not answer") as caught:
        await wait_until_reachable(dsn, seconds=0)
    assert "hunter2" not in str(caught.value)


async def test_a_server_that_refuses_is_not_waited_for(database_url: str) -> None:
    """A wrong database name does not become right."""
    with pytest.raises(DatabaseError, match="refuses us: database"):
        await wait_until_reachable(database_url.replace("/test_", "/no_test_"), seconds=30)


async def test_a_pool_can_be_made_while_postgres_is_down() -> None:
    """The service starts all the same and says that it is not ready."""
    pool = await create_pool(f"postgresql://u@127.0.0.1:{free_port()}/x", size=2)
    try:
        with pytest.raises(OSError, match=r"refused|failed"):
            await pool.fetchval("SELECT 1")
    finally:
        pool.terminate()


async def test_times_are_rendered_in_utc(connection: Connection) -> None:
    """The feed's JSON is rendered by the server."""
    assert await connection.fetchval("SHOW timezone") == "UTC"


def test_without_a_database_the_message_names_the_setting(tmp_path: Path) -> None:
    """And what to start."""
    with pytest.raises(DatabaseError, match=r"oauthapps up.*or set SOME_SETTING"):
        DatabaseUrl(Database(), tmp_path, setting="SOME_SETTING")


async def test_a_pool_that_is_exhausted_is_not_waited_for_for_ever(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's own bound is for a statement, which has not even begun."""
    monkeypatch.setattr(postgres, "ACQUIRE_SECONDS", 0.1)
    pool = await create_pool(database_url, size=1)
    try:
        async with pool.acquire(), asyncio.timeout(5):
            with pytest.raises(TimeoutError):
                await pool.fetchval("SELECT 1")
        assert await pool.fetchval("SELECT 1") == 1
    finally:
        pool.terminate()
