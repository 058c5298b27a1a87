"""A registry's parts on a database of their own, and what a test wants to tell them."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from services.registry.directory import Organization, User
from services.registry.event_store import EventStore
from services.registry.lists import ApplicationLists
from services.registry.ports import Append, NewEvent, Write
from services.registry.schema import MIGRATIONS, SCHEMA
from services.registry.views import ApplicationViews
from shared.credentials import digest_of, new_client_id, new_client_secret
from shared.envelope import Envelope
from shared.events import Event, PrivateData, SecretFacts
from shared.postgres import Pool, create_pool, migrate_database
from tests.integration.registry.directory import FurnishedDirectory
from tests.support.postgres import Databases
from tests.support.tcp_proxy import TcpProxy
from tests.unit.registry.factories import NOON, created


@dataclass(frozen=True, slots=True)
class Furniture:
    """What is in a house from the beginning."""

    organization: Organization
    owner: User


@dataclass
class House:
    """A migrated database with one organization and one owner in it."""

    dsn: str
    pool: Pool
    directory: FurnishedDirectory
    views: ApplicationViews
    lists: ApplicationLists
    organization: Organization
    owner: User

    @asynccontextmanager
    async def store(
        self, *, dsn: str | None = None, on_append: Callable[[], None] = lambda: None
    ) -> AsyncIterator[EventStore]:
        """Run a writer of the log, as each registry process has one."""
        async with EventStore(dsn or self.dsn, self.pool, on_append=on_append) as store:
            yield store

    def application(self, name: str | None = None, **given: Any) -> "Told":
        """Return an application of the owner, under a name nobody has."""
        return Told(
            {
                "application_id": str(uuid.uuid4()),
                "client_id": new_client_id(),
                "organization_id": self.organization.id,
                "owner_id": self.owner.id,
                **given,
            },
            name or f"application {uuid.uuid4()}",
        )

    async def positions(self) -> list[int]:
        """Return the log's positions as anybody sees them."""
        rows = await self.pool.fetch("SELECT position FROM registry.events ORDER BY position")
        return [row["position"] for row in rows]

    async def head(self) -> int:
        """Return the last position that was given out."""
        position: int = await self.pool.fetchval("SELECT position FROM registry.log_head")
        return position

    async def wait_for_lock(self) -> bool:
        """Tell whether somebody waits for a lock in this database."""
        waiting: bool = await self.pool.fetchval(
            "SELECT count(*) > 0 FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return waiting

    async def nobody_begins(self) -> bool:
        """Tell whether no transaction of the log's waits for its lock."""
        number: int = await self.pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock' AND query LIKE 'BEGIN%'"
        )
        return number == 0

    async def end_whoever_waits(self) -> None:
        """End the sessions that wait for a lock, as an operator or a failover does."""
        await self.pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )


@dataclass
class Told:
    """An application whose life a test tells."""

    subject: dict[str, Any]
    name: str

    @property
    def id(self) -> str:
        """The stream."""
        return str(self.subject["application_id"])

    def secret(
        self, *, created_at: datetime = NOON, expires_at: datetime | None = None
    ) -> SecretFacts:
        """Return the facts of a fresh secret."""
        return SecretFacts(
            id=str(uuid.uuid4()), hint="abcd", created_at=created_at, expires_at=expires_at
        )

    def creation(self, **given: Any) -> Append:
        """Return the command that begins the stream."""
        return append(self.id, 0, _created(self, **given))


@asynccontextmanager
async def proxied(house: House) -> AsyncIterator[tuple[TcpProxy, str]]:
    """Put a breakable line between a store and Postgres."""
    parts = urlsplit(house.dsn)
    query = parse_qs(parts.query)
    target: tuple[str, int] | Path
    if "host" in query:
        port = query.get("port", ["5432"])[0]
        target = Path(query["host"][0]) / f".s.PGSQL.{port}"
    else:
        target = (parts.hostname or "127.0.0.1", parts.port or 5432)
    user = parts.netloc.rpartition("@")[0] or (query.get("user") or [""])[0]
    async with TcpProxy(target) as proxy:
        yield proxy, f"postgresql://{user}@{proxy.host}:{proxy.port}{parts.path}?sslmode=disable"


def append(
    stream: str,
    expected_version: int,
    *events: Event,
    command_id: str | None = None,
    at: timedelta = timedelta(),
) -> Append:
    """Return a command with these events; those that bring a secret bring a digest too."""
    return Append(
        command_id=command_id or str(uuid.uuid4()),
        actor="cli:test",
        time=NOON + at,
        writes=(
            Write(
                stream=stream,
                expected_version=expected_version,
                events=tuple(NewEvent(event, _private(event)) for event in events),
            ),
        ),
        correlation_id=None,
    )


def _created(told: Told, **given: Any) -> Event:
    facts: dict[str, Any] = {**told.subject, "secret": told.secret(), **given}
    return created(told.name, **facts)


def _private(event: Event) -> PrivateData:
    if not hasattr(event, "secret"):
        return PrivateData()
    return PrivateData(secret_digest=digest_of(new_client_secret()))


def without_private(envelopes: list[Envelope]) -> list[Envelope]:
    """Return envelopes as `load` gives them."""
    return [replace(one, private=PrivateData()) for one in envelopes]


async def furnish(dsn: str) -> Furniture:
    """Migrate an empty database, and add an organization and its owner of applications."""
    await migrate_database(dsn, SCHEMA, MIGRATIONS)
    async with await create_pool(dsn, size=1) as pool:
        directory = FurnishedDirectory(pool)
        organization = await directory.add_organization("Example")
        owner = await directory.add_user(
            "owner@example.com", name="Olga Owner", organizations=[organization.id]
        )
    return Furniture(organization, owner)


@asynccontextmanager
async def house_in(databases: Databases) -> AsyncIterator[House]:
    """Yield a house in a database of its own."""
    async with databases.copy(furnish) as (dsn, furniture), house_of(dsn, furniture) as house:
        yield house


@asynccontextmanager
async def house_on(dsn: str) -> AsyncIterator[House]:
    """Migrate an empty database and furnish it."""
    async with house_of(dsn, await furnish(dsn)) as house:
        yield house


@asynccontextmanager
async def house_of(dsn: str, furniture: Furniture) -> AsyncIterator[House]:
    """Yield a house in a database that is furnished."""
    pool = await create_pool(dsn, size=10)
    try:
        yield House(
            dsn,
            pool,
            FurnishedDirectory(pool),
            ApplicationViews(pool),
            ApplicationLists(pool),
            furniture.organization,
            furniture.owner,
        )
    finally:
        pool.terminate()


@asynccontextmanager
async def session(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Open a connection for what a test does on its own."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        connection.terminate()


def now() -> datetime:
    """Return the present, for tests in which it does not matter."""
    return datetime.now(UTC)
