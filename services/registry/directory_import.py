"""Taking a directory in from JSON lines: what is not there is added, what differs is changed.

Organizations first, then users, whatever their order in the file; many lines a transaction. What
was taken stays taken when something breaks: the same file can be read again.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from msgspec import UNSET

from services.registry.directory import DirectoryError, FieldTaken, FieldUnusable, OwnsApplications
from services.registry.directory_intake import Organizations, Outcome, Users
from services.registry.directory_lines import (
    Line,
    OrganizationLine,
    UserLine,
    lines_of,
)
from services.registry.directory_writes import (
    check_departures,
    write_organizations,
    write_users,
    writing,
)
from services.registry.handlers import Context
from services.registry.json_lines import Fault, batches_of
from shared.postgres import Connection, Pool, acquired

# Lines of one transaction. The directory can be changed by nobody else for as long as it takes.
BATCH = 500


@dataclass(slots=True, kw_only=True)
class Summary:
    """How many organizations and users were taken how, and which lines were not."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    failed: list[Fault] = field(default_factory=list)


class DirectoryImport:
    """One import, by an operator. `on_disabled` deactivates what the disabled own."""

    def __init__(
        self,
        pool: Pool,
        context: Context,
        *,
        dry_run: bool = False,
        on_disabled: Callable[[], Awaitable[object]],
        on_progress: Callable[[int, int], None] = lambda _done, _whole: None,
    ) -> None:
        self._pool = pool
        self._context = context
        self._dry_run = dry_run
        self._on_disabled = on_disabled
        self._on_progress = on_progress
        self._organizations = Organizations()
        self._users = Users(self._organizations)
        self.summary = Summary()

    async def run(self, file: IO[bytes], size: int) -> Summary:
        """Take a file that can be read twice; `size` in bytes. Raises TransientFailure."""
        faults = self.summary.failed.append
        wanted: tuple[tuple[type, Callable[[Fault], None]], ...] = (
            (OrganizationLine, faults),
            # What is no line has been told.
            (UserLine, lambda _fault: None),
        )
        for turn, (kind, on_fault) in enumerate(wanted):
            file.seek(0)
            lines = (one for one in lines_of(file, on_fault) if isinstance(one.entry, kind))
            for batch in batches_of(lines, BATCH):
                await self._take(batch)
                self._on_progress(turn * size + batch[-1].end, 2 * size)
        self.summary.failed.sort(key=lambda one: one.line)
        return self.summary

    async def _take(self, batch: Sequence[Line]) -> None:
        """Take a batch; one that is refused as a whole is taken line by line."""
        try:
            outcomes = await self._transact(batch)
        except (FieldTaken, OwnsApplications) as error:
            if len(batch) > 1:
                for line in batch:
                    await self._take([line])
                return
            outcomes = [error]
        for line, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, DirectoryError):
                self.summary.failed.append(Fault(line.number, _sentence(outcome)))
            else:
                setattr(self.summary, outcome, getattr(self.summary, outcome) + 1)

    async def _transact(self, batch: Sequence[Line]) -> list[Outcome | DirectoryError]:
        organizations = Organizations(self._organizations.kept)
        users = Users(organizations, self._users.kept, self._users.kept_keys)
        session = acquired if self._dry_run else writing
        async with session(self._pool) as connection:
            asked = [one.entry for one in batch]
            if houses := [one for one in asked if isinstance(one, OrganizationLine)]:
                names = [one.name.strip() for one in houses]
                ids = [str(one.id) for one in houses if one.id is not UNSET]
                await organizations.load(connection, [*ids, *names])
            if some := [one for one in asked if isinstance(one, UserLine)]:
                await users.load(connection, some)
            outcomes = [self._outcome(one, organizations, users) for one in asked]
            await self._write(connection, organizations, users)
        if self._dry_run:
            organizations.keep()
            users.keep()
        elif organizations.disabled or users.disabled:
            await self._on_disabled()
        return outcomes

    def _outcome(
        self, entry: OrganizationLine | UserLine, organizations: Organizations, users: Users
    ) -> Outcome | DirectoryError:
        now = self._context.now()
        try:
            if isinstance(entry, OrganizationLine):
                return organizations.take(entry, now)
            return users.take(entry, now)
        except DirectoryError as error:
            return error

    async def _write(
        self, connection: Connection, organizations: Organizations, users: Users
    ) -> None:
        if self._dry_run:
            await check_departures(connection, list(users.writes.values()))
            return
        if organizations.writes:
            await write_organizations(
                connection, list(organizations.writes.values()), self._context
            )
        if users.writes:
            await write_users(connection, list(users.writes.values()), self._context)


def _sentence(error: DirectoryError) -> str:
    if isinstance(error, FieldUnusable):
        return f"{'.'.join(map(str, error.path))}: {error}"
    return str(error)
