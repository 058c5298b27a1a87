"""A database that cannot be used: said in words, and good again as soon as the cause is gone."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from shared import database_check, pruning
from shared.database_check import DatabaseCheck
from shared.health import NotReady
from shared.postgres import (
    DatabaseUrl,
    Migration,
    NotConnected,
    Pool,
    Url,
    connect,
    create_pool,
    migrate_database,
)
from shared.secret_source import trouble_of
from shared.sections import Database
from shared.web import background
from tests.support.eventually import eventually
from tests.support.files import put
from tests.support.locked_postgres import LockedDatabase
from tests.support.logged import Logged
from tests.support.ports import free_port

STEPS = [
    Migration(1, "0001_a.sql", "CREATE TABLE things.a (x integer)"),
    Migration(2, "0002_b.sql", "CREATE TABLE things.b (x integer)"),
]
BREAKING = Migration(3, "0003_c.sql", "-- Why.\n-- breaks: previous\n\nSELECT 1")


@asynccontextmanager
async def pool_of(url: Url) -> AsyncIterator[Pool]:
    pool = await create_pool(url, size=2)
    try:
        yield pool
    finally:
        pool.terminate()


def url_in(file: Path) -> DatabaseUrl:
    return DatabaseUrl(Database(url_file=file), file.parent, setting="SOME_SETTING")


Broken = Callable[[LockedDatabase], str]
BROKEN: dict[str, tuple[Broken, str]] = {
    "wrong password": (
        lambda database: database.url("hunter2"),
        "refuses us: password authentication failed",
    ),
    "no such database": (
        lambda database: f"{database.url('right')}x",
        "does not exist; create it, or correct",
    ),
    "no server": (
        lambda _: f"postgresql://u:hunter2@127.0.0.1:{free_port()}/x",
        "does not answer (Connection refused); start it, or correct",
    ),
    "no such host": (
        lambda _: "postgresql://u:hunter2@no-such-host.invalid/x",
        "Postgres at no-such-host.invalid:5432 does not answer (no such host)",
    ),
    "no TLS": (
        lambda database: database.url(query="?sslmode=require"),
        "offers no TLS, which sslmode asks for",
    ),
    "no certificates": (
        lambda database: database.url(query="?sslmode=verify-full&sslrootcert=/no/such.pem"),
        "the TLS of its URL cannot be set up: a file that it names is not there",
    ),
    "not escaped": (
        lambda _: "postgresql://u:hun/ter2@127.0.0.1/x",
        "its URL is no URL that can be read; is its password percent-encoded?",
    ),
    "no socket": (
        lambda _: "postgresql://u:hunter2@/x?host=/no/such/folder",
        "Postgres at /no/such/folder does not answer (No such file or directory)",
    ),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("what", BROKEN)
async def test_each_cause_has_its_words(locked_database: LockedDatabase, what: str) -> None:
    """Which server, why, and what to correct; never the password."""
    broken, said = BROKEN[what]
    with pytest.raises(NotConnected) as caught:
        await connect(broken(locked_database))
    assert said in str(caught.value)
    assert "hun" not in str(caught.value)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_url_is_read_again_at_each_connect(
    locked_database: LockedDatabase, tmp_path: Path, logged: Logged
) -> None:
    """A file that comes late, that is wrong first, that is replaced when a password changes."""
    file = tmp_path / "url"
    url = url_in(file)

    async def said() -> str:
        with pytest.raises(NotConnected) as caught:
            await connect(url)
        return str(caught.value)

    assert f"secret file {file}: cannot be read (No such file or directory)" in await said()
    file.mkdir()
    assert f"secret file {file}: cannot be read (Is a directory)" in await said()
    file.rmdir()
    file.write_text("\n")
    assert f"secret file {file}: is empty" in await said()
    file.write_bytes(b"\xff")
    assert f"secret file {file}: cannot be read (not UTF-8 text)" in await said()
    file.write_text("hunter2")
    assert f"secret file {file}: give a URL such as postgresql://" in await said()
    file.write_text(locked_database.url("hunter2"))
    assert "password authentication failed" in (words := await said())
    assert words.endswith(f"correct {file}")
    async with pool_of(url) as pool:
        file.write_text(locked_database.url() + "\n")
        assert await pool.fetchval("SELECT 1") == 1

        await locked_database.run(f"ALTER ROLE {locked_database.name} PASSWORD 'another'")
        await pool.expire_connections()
        with pytest.raises(NotConnected):
            await pool.fetchval("SELECT 1")
        file.write_text(locked_database.url("another"))
        assert await pool.fetchval("SELECT 1") == 1

        file.unlink()
        await pool.expire_connections()
        assert await pool.fetchval("SELECT 1") == 1
        assert "No such file" in (trouble_of(url.secret) or "")
    assert "hunter2" not in logged.text()
    assert logged.count("secret not read") == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_the_check_follows_what_becomes_of_the_database(
    locked_database: LockedDatabase,
    tmp_path: Path,
    logged: Logged,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each cause is said once, in `/readyz` as in the log; nothing has to be restarted."""
    monkeypatch.setattr(database_check, "WATCH_SECONDS", 0.02)
    file = tmp_path / "url"
    owner = locked_database.url()
    role = f"{locked_database.name}_b"
    await locked_database.run(f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    async with pool_of(url_in(file)) as pool:
        check = DatabaseCheck(pool, "things", STEPS)

        async def says(words: str) -> None:
            async def is_said() -> bool:
                try:
                    await check()
                except NotReady as reason:
                    return words in str(reason)
                return words == "ok"

            await eventually(is_said)
            event = "database can be used again" if words == "ok" else "database cannot be used"
            await eventually(lambda: logged.last(event, words))

        async with background(check.watch()):
            await says("No such file or directory")
            put(file, locked_database.url("wrong"))
            await says("password authentication failed")
            put(file, owner.replace(f"//{locked_database.name}:", f"//{role}:"))
            await says("schema 'things' is at 0 of 2: run `oauthapps migrate`")
            await migrate_database(owner, "things", STEPS[:1])
            await says("permission denied for schema things")
            await locked_database.run(f"GRANT USAGE ON SCHEMA things TO {role}")
            await says("permission denied for table migrations")
            await locked_database.run(f"GRANT SELECT ON things.migrations TO {role}")
            await says("schema 'things' is at 1 of 2: run `oauthapps migrate`")
            await migrate_database(owner, "things", STEPS)
            await says(f"role '{role}' may not read and write things.a, things.b: grant")
            await locked_database.run(f"GRANT ALL ON ALL TABLES IN SCHEMA things TO {role}")
            await says("ok")
            await migrate_database(owner, "things", [*STEPS, BREAKING])
            await says("has migration 0003_c.sql, with which this version cannot work")
            # As if an upgraded process had taken this one's place, or a backup the schema's.
            await locked_database.run("DELETE FROM things.migrations WHERE number = 3")
            await eventually(lambda: logged.count("database can be used again") == 2)
    # Looked at many times over, each was said once.
    assert logged.count("database cannot be used") == 8


async def test_a_job_whose_statement_always_takes_too_long_says_so(
    locked_database: LockedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database answers all others, so nobody else says it; a table would grow in silence."""
    pool = await create_pool(locked_database.url(), size=1, command_seconds=0.05)

    async def prune() -> int:
        await pool.execute("SELECT pg_sleep(60)")
        return 0

    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(pruning, "log", structlog.get_logger())
        async with background(pruning.prune_forever(prune, batch=1, seconds=0.01, what="things")):
            await eventually(lambda: lines)
    pool.terminate()
    assert lines[0] == {
        "event": "things not pruned",
        "reason": "Postgres does not answer (TimeoutError)",
        "log_level": "warning",
    }
