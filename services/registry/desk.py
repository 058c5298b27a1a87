"""Where an operator's commands are done: at the database itself, without a token."""

import asyncio
import getpass
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer

from services.registry.clock import now
from services.registry.directory import Directory
from services.registry.directory_changes import Author, DirectoryChanges
from services.registry.domain import RegistryError
from services.registry.event_store import EventStore
from services.registry.feed import Feed, Wakeup
from services.registry.handlers import Context
from services.registry.lists import ApplicationLists
from services.registry.refusals import sentence_of
from services.registry.schema import DATABASE_SETTING, MIGRATIONS, SCHEMA
from services.registry.switch import Switch
from services.registry.usage import UsageRecords
from services.registry.views import ApplicationViews
from shared.config import Settings
from shared.console import fail
from shared.database_words import reason_of
from shared.failures import TransientFailure
from shared.postgres import (
    TRANSIENT_ERRORS,
    DatabaseError,
    DatabaseUrl,
    Pool,
    create_pool,
    require_migrated,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command of an operator works with."""

    settings: Settings
    pool: Pool
    store: EventStore
    views: ApplicationViews
    lists: ApplicationLists
    directory: Directory
    usage: UsageRecords
    feed: Feed
    changes: DirectoryChanges

    @property
    def switch(self) -> Switch:
        """Return what enables and disables."""
        return Switch(self.changes, self.store, self.views)

    def author(self) -> Author:
        """Return who changes the directory with one command: the operator of this account."""
        return Author(context=self.context())

    def context(self) -> Context:
        """Return the context of one command, done by the operator of this account."""
        return Context(
            command_id=str(uuid.uuid4()),
            actor=f"cli:{getpass.getuser()}",
            now=now,
        )


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    """Open the registry's database. Raises DatabaseError with the remedy."""
    dsn = DatabaseUrl(settings.registry.database, settings.var, setting=DATABASE_SETTING)
    pool = await create_pool(dsn, size=2, by_index=True)
    try:
        await require_migrated(pool, SCHEMA, MIGRATIONS)
        async with EventStore(dsn, pool) as store:
            yield Desk(
                settings,
                pool,
                store,
                ApplicationViews(pool),
                ApplicationLists(pool),
                Directory(pool),
                UsageRecords(pool),
                Feed(pool, Wakeup(), asyncio.Event()),
                DirectoryChanges(pool),
            )
    finally:
        await pool.close()


def run_at_desk(
    context: typer.Context, work: Callable[[Desk], Coroutine[Any, Any, T]], remedy: str = ""
) -> T:
    """Do the work; whatever is refused becomes one line, the remedy at its end, and status 1."""

    async def with_desk() -> T:
        async with open_desk(context.obj) as desk:
            return await work(desk)

    try:
        return asyncio.run(with_desk())
    except DatabaseError as error:
        fail(f"{error}{remedy}")
    except TRANSIENT_ERRORS as error:
        fail(f"{reason_of(error)}{remedy}")
    except (RegistryError, TransientFailure) as error:
        fail(f"{sentence_of(error)}{remedy}")
