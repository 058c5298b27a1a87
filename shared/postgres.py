"""Connections to Postgres, and migrations: one numbered `.sql` a step, forward only."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import asyncpg

from shared.config import Database, secret
from shared.logs import get_logger

CONNECT_SECONDS = 5.0
# How long to wait for one of a pool's connections. Longer than it takes to open one.
ACQUIRE_SECONDS = 10.0
# How long a migration waits for a server that has just been started.
START_SECONDS = 30.0
# Where `oauthapps up` keeps its database, under `var`.
DATA_FOLDER = Path("postgres", "data")
# Times are rendered into JSON by the server: always in the same zone.
SESSION_SETTINGS = {
    "timezone": "UTC",
    "application_name": "oauthapps",
    # A host that vanished keeps its session locks for a minute and not for hours: so long nobody
    # else could lead the relay.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    # Compiling a plan takes longer than any statement of ours.
    "jit": "off",
}
_NUMBERED = re.compile(r"^(\d{4})_\w+\.sql$")
# By which a migration says that the version before it must not run beside it.
_BREAKS_PREVIOUS = re.compile(r"^-- breaks: previous$", re.MULTILINE)
log = get_logger(__name__)

# What a lost, refused or overloaded server raises; the same call may succeed later.
TRANSIENT_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What the driver says of a connection that the server ended while it was idle.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.DiskFullError,
    asyncpg.QueryCanceledError,
    # Of a database that is closed to everybody, as while it is restored.
    asyncpg.ObjectNotInPrerequisiteStateError,
    # Of a server that has become a standby: the next connection may find the new primary.
    asyncpg.ReadOnlySQLTransactionError,
)
# These, and whatever else Postgres refuses, such as to write while it is a standby.
POSTGRES_ERRORS = (*TRANSIENT_ERRORS, asyncpg.PostgresError)

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    # Generic in the stubs only.
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool


class _BoundedPool(Pool):
    """A pool that is waited for as long as for a connection: the driver would wait for ever."""

    def acquire(self, *, timeout: float | None = None) -> Any:
        """Return a connection, for `async with`. Raises TimeoutError."""
        return super().acquire(timeout=ACQUIRE_SECONDS if timeout is None else timeout)


class DatabaseError(Exception):
    """The database cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a schema, from a file such as `0001_log.sql`."""

    number: int
    name: str
    sql: str

    @property
    def breaks_previous(self) -> bool:
        """Tell whether code that does not know this step must not run once it is done.

        A line `-- breaks: previous` says so. Without it the step promises that statements of the
        version before go on working.
        """
        return _BREAKS_PREVIOUS.search(self.sql) is not None


async def connect(dsn: str, *, command_seconds: float = 30.0) -> Connection:
    """Return a connection of its own, for session locks, LISTEN and the log's appends."""
    connection: Connection = await asyncpg.connect(
        dsn,
        timeout=CONNECT_SECONDS,
        command_timeout=command_seconds,
        server_settings=SESSION_SETTINGS,
    )
    return connection


async def create_pool(
    dsn: str,
    *,
    size: int,
    command_seconds: float = 30.0,
    by_index: bool = False,
) -> Pool:
    """Return a pool that opens connections when they are needed, also when Postgres is down now.

    With `by_index` every statement is planned for its values, each time, and reads no table from
    end to end where an index helps.
    """
    planning = {"plan_cache_mode": "force_custom_plan", "enable_seqscan": "off"} if by_index else {}
    return await _BoundedPool(
        dsn,
        min_size=0,
        max_size=size,
        max_queries=50_000,
        max_inactive_connection_lifetime=300.0,
        loop=None,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
        timeout=CONNECT_SECONDS,
        command_timeout=command_seconds,
        server_settings={**SESSION_SETTINGS, **planning},
    )


@asynccontextmanager
async def acquired(pool: Pool) -> AsyncIterator[Connection]:
    """Hold a connection of a pool."""
    async with pool.acquire() as connection:
        # What a pool gives out is one in all but its name.
        yield cast("Connection", connection)


def migrations_in(folder: Traversable) -> list[Migration]:
    """Return the steps of a folder in order. Raises ValueError when the numbers have a hole."""
    found = []
    for file in folder.iterdir():
        match = _NUMBERED.match(file.name)
        if match:
            found.append(Migration(int(match[1]), file.name, file.read_text(encoding="utf-8")))
    found.sort(key=lambda one: one.number)
    if [one.number for one in found] != list(range(1, len(found) + 1)):
        message = f"migrations must be numbered 0001, 0002, … without a hole: {folder}"
        raise ValueError(message)
    return found


async def migrate(connection: Connection, schema: str, steps: list[Migration]) -> list[str]:
    """Bring a schema up to date, each step in its own transaction; return the names applied.

    Concurrent callers wait for each other. A schema that is newer than this code stays as it is.
    Raises DatabaseError when this code cannot work with it.
    """
    applied = []
    await connection.execute("SELECT pg_advisory_lock(hashtext($1))", f"migrate {schema}")
    try:
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        await connection.execute(
            f"""
            CREATE TABLE IF NOT EXISTS {schema}.migrations (
                number     integer     PRIMARY KEY,
                name       text        NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now()
            )"""
        )
        # What is not here yet has been done by code that knew of no step that breaks another.
        await connection.execute(
            f"ALTER TABLE {schema}.migrations ADD COLUMN IF NOT EXISTS"
            " breaks_previous boolean NOT NULL DEFAULT false"
        )
        done = await _version(connection, schema)
        await _refuse_newer(connection, schema, steps)
        if done > len(steps):
            log.warning("schema is newer", schema=schema, at=done, known=len(steps))
        for step in steps[done:]:
            async with connection.transaction():
                await connection.execute(step.sql)
                await connection.execute(
                    f"INSERT INTO {schema}.migrations (number, name, breaks_previous)"  # noqa: S608 - a constant of ours
                    " VALUES ($1, $2, $3)",
                    step.number,
                    step.name,
                    step.breaks_previous,
                )
            applied.append(step.name)
            log.info("migration applied", schema=schema, migration=step.name)
    finally:
        await connection.execute("SELECT pg_advisory_unlock(hashtext($1))", f"migrate {schema}")
    return applied


async def require_migrated(source: Any, schema: str, steps: list[Migration]) -> None:
    """Raise DatabaseError unless this code can work with the schema.

    It can be newer: while an installation is upgraded, what still runs of the version before goes
    on, unless a step that it does not know says that it must not.
    """
    if await source.fetchval("SELECT to_regclass($1)", f"{schema}.migrations") is None:
        done = 0
    else:
        done = await _version(source, schema)
    if done > len(steps):
        await _refuse_newer(source, schema, steps)
    if done < len(steps):
        message = (
            f"database schema {schema!r} is at {done} of {len(steps)}: run `oauthapps migrate`"
        )
        raise DatabaseError(message)


async def _version(source: Any, schema: str) -> int:
    number: int = await source.fetchval(
        f"SELECT coalesce(max(number), 0) FROM {schema}.migrations"  # noqa: S608 - a constant of ours
    )
    return number


async def _refuse_newer(source: Any, schema: str, steps: list[Migration]) -> None:
    # By way of JSON: the column is not there where a version without it migrated last.
    name = await source.fetchval(
        f"""
        SELECT min(m.name) FROM {schema}.migrations m
         WHERE m.number > $1 AND (to_jsonb(m) ->> 'breaks_previous')::boolean""",  # noqa: S608 - a constant of ours
        len(steps),
    )
    if name is not None:
        message = (
            f"database schema {schema!r} has migration {name}, with which this version cannot "
            "work: upgrade oauthapps"
        )
        raise DatabaseError(message)


async def wait_until_reachable(dsn: str, *, seconds: float) -> None:
    """Wait for a server that is still starting. Raises DatabaseError when it does not come."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            connection = await connect(dsn)
        except TRANSIENT_ERRORS as error:
            if asyncio.get_running_loop().time() > deadline:
                message = f"Postgres cannot be reached ({type(error).__name__}); check its URL"
                raise DatabaseError(message) from None
            await asyncio.sleep(0.2)
        except asyncpg.PostgresError as error:
            message = f"Postgres refuses the connection: {error.args[0]}"
            raise DatabaseError(message) from None
        else:
            await connection.close()
            return


def dsn_of(database: Database, var: Path, *, setting: str) -> str:
    """Return the configured URL, else that of the server which `oauthapps up` runs under `var`.

    Raises DatabaseError, which names the setting, when there is neither.
    """
    url = secret(database.url, database.url_file)
    if url is not None:
        return url
    running = running_dsn(var)
    if running is None:
        message = (
            f"no database is configured and none runs under {var / 'postgres'}: "
            f"start `oauthapps up`, or set {setting}"
        )
        raise DatabaseError(message)
    return running


def running_dsn(var: Path) -> str | None:
    """Return the URL of the embedded server that runs under `var`, or None.

    Raises DatabaseError when it is another user's.
    """
    file = var / DATA_FOLDER / "postmaster.pid"
    try:
        # Lines: pid, data directory, start time, port, socket directory, ….
        lines = file.read_text().splitlines()
        port, sockets = int(lines[3]), lines[4]
        with socket.socket(socket.AF_UNIX) as trial:
            # The file stays behind after a crash; a socket that answers does not.
            trial.settimeout(CONNECT_SECONDS)
            trial.connect(f"{sockets}/.s.PGSQL.{port}")
    except PermissionError:
        message = f"{file.parent}: not for this user; run as the one who starts `oauthapps up`"
        raise DatabaseError(message) from None
    except (OSError, ValueError, IndexError):
        return None
    return f"postgresql://oauthapps@/oauthapps?host={quote(sockets)}&port={port}"


async def migrate_database(dsn: str, schema: str, steps: list[Migration]) -> list[str]:
    """Wait for the server if it is still starting, and bring a schema up to date; see `migrate`."""
    await wait_until_reachable(dsn, seconds=START_SECONDS)
    connection = await connect(dsn)
    try:
        return await migrate(connection, schema, steps)
    finally:
        await connection.close()
