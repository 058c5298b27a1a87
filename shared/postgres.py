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

from shared.database_words import why_not_connected
from shared.logs import get_logger
from shared.secret_source import SecretSource
from shared.sections import Database, database_url
from shared.setting_values import ConfigurationError

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
    # Rights can be granted, and a schema migrated.
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
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


class NotConnected(OSError):
    """No connection to Postgres; the message says why, and what to do.

    `is_refused` when it was reached and does not want us, or there is nowhere to go: that does not
    pass by itself.
    """

    def __init__(self, message: str, *, is_refused: bool) -> None:
        super().__init__(message)
        self.is_refused = is_refused


class DatabaseUrl:
    """Where a database is, read at each connect: the file of its URL may come late, and change.

    `named` is what holds it: a file, or a setting.
    """

    def __init__(self, database: Database, var: Path, *, setting: str) -> None:
        """Raise DatabaseError, which names the setting, when nothing says where it is."""
        self.named = setting
        self.secret: SecretSource | None = None
        self._database = database
        self._var = var
        if database.url is None and database.url_file is not None:
            self.named = str(database.url_file)
            self.secret = SecretSource(self._read, self.named, is_said=True)
        else:
            self._read()

    def __call__(self) -> str:
        """Return the URL. Raises NotConnected while it cannot be read."""
        try:
            return self._read() if self.secret is None else self.secret()
        except (ConfigurationError, DatabaseError) as error:
            raise NotConnected(str(error), is_refused=True) from None

    def _read(self) -> str:
        """Return the configured URL, else that of the server which `oauthapps up` runs."""
        url = database_url(self._database) or running_dsn(self._var)
        if url is None:
            message = (
                f"no database is configured and none runs under {self._var / 'postgres'}: "
                f"start `oauthapps up`, or set {self.named}"
            )
            raise DatabaseError(message)
        return url


Url = str | DatabaseUrl


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


async def connect(url: Url, *, command_seconds: float = 30.0) -> Connection:
    """Return a connection of its own, for session locks, LISTEN and the log's appends.

    Raises NotConnected.
    """
    connection: Connection = await _connect(
        url,
        timeout=CONNECT_SECONDS,
        command_timeout=command_seconds,
        server_settings=SESSION_SETTINGS,
    )
    return connection


async def _connect(url: Url, **given: Any) -> Any:
    dsn, named = (url, "its URL") if isinstance(url, str) else (url(), url.named)
    try:
        return await asyncpg.connect(dsn, **given)
    except (*POSTGRES_ERRORS, ValueError) as error:
        is_refused = isinstance(error, (ValueError, asyncpg.InsufficientPrivilegeError))
        is_refused |= not isinstance(error, TRANSIENT_ERRORS)
        raise NotConnected(why_not_connected(error, dsn, named), is_refused=is_refused) from None


async def create_pool(
    url: Url,
    *,
    size: int,
    command_seconds: float = 30.0,
    by_index: bool = False,
) -> Pool:
    """Return a pool that opens connections when they are needed, also when Postgres is down now.

    Whoever needs one gets NotConnected then.

    With `by_index` every statement is planned for its values, each time, and reads no table from
    end to end where an index helps.
    """
    planning = {"plan_cache_mode": "force_custom_plan", "enable_seqscan": "off"} if by_index else {}
    return await _BoundedPool(
        None,
        connect=cast("Any", lambda _dsn, **given: _connect(url, **given)),
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


async def require_migrated(source: Any, schema: str, steps: list[Migration]) -> int:
    """Return how far the schema is. Raise DatabaseError unless this code can work with it.

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
    return done


async def require_rights(source: Any, schema: str) -> None:
    """Raise DatabaseError unless we may read and write every table of a schema."""
    lacking = await source.fetchrow(_LACKING, schema)
    if lacking["tables"] is not None:
        message = (
            f"role {lacking['role']!r} may not read and write {lacking['tables']}: grant SELECT, "
            f"INSERT, UPDATE and DELETE on all tables of schema {schema!r}"
        )
        raise DatabaseError(message)


_LACKING = """
SELECT current_user AS role, string_agg(l.name, ', ' ORDER BY l.name) AS tables
  FROM (SELECT c.oid::regclass::text AS name
          FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1
           AND c.relkind IN ('r', 'p')
           -- Written by `oauthapps migrate` alone.
           AND c.relname <> 'migrations'
           AND NOT (    has_table_privilege(c.oid, 'SELECT')
                    AND has_table_privilege(c.oid, 'INSERT')
                    AND has_table_privilege(c.oid, 'UPDATE')
                    AND has_table_privilege(c.oid, 'DELETE'))
         ORDER BY 1
         LIMIT 3) AS l
"""


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


async def wait_until_reachable(url: Url, *, seconds: float) -> None:
    """Wait for a server that is still starting. Raises DatabaseError when it does not come."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            connection = await connect(url)
        except NotConnected as error:
            if error.is_refused or asyncio.get_running_loop().time() > deadline:
                raise DatabaseError(str(error)) from None
            await asyncio.sleep(0.2)
        else:
            await connection.close()
            return


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


async def migrate_database(url: Url, schema: str, steps: list[Migration]) -> list[str]:
    """Wait for the server if it is still starting, and bring a schema up to date; see `migrate`."""
    await wait_until_reachable(url, seconds=START_SECONDS)
    connection = await connect(url)
    try:
        return await migrate(connection, schema, steps)
    finally:
        await connection.close()
