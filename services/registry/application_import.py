"""Adding many applications from JSON lines: each line is what `POST /api/applications` is sent.

Every line is a command of its own. What it draws derives from the key in the file of results and
from the line, so the same file can be read again after whatever happened: the log takes each
command once, and what it has taken before is written down again with the same secret.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import IO

from services.registry.bodies import CreateBody, parse, reference_of
from services.registry.creation import CreatedApplication, create
from services.registry.directory import (
    Directory,
    Organization,
    OrganizationUnknown,
    User,
    UserUnknown,
)
from services.registry.domain import RegistryError
from services.registry.handlers import Context
from services.registry.import_results import Result, Results
from services.registry.json_lines import NO_OBJECT, Fault, RawLine, batches_of, raw_lines_of
from services.registry.ports import Store
from services.registry.refusals import sentence_of
from shared.config import Settings
from shared.failures import TransientFailure
from shared.postgres import TRANSIENT_ERRORS
from shared.problem import Problem

# Lines that are under way at a time: some transactions of the log, and one look at the directory.
BATCH = 1000


class ImportInterrupted(RegistryError):
    """The import broke off; what was made is safe, and the same command goes on with the rest."""


@dataclass(slots=True, kw_only=True)
class Summary:
    """How many applications were added, how many had been before, and which lines were not."""

    added: int = 0
    unchanged: int = 0
    failed: list[Fault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A line, understood, and the context in which it is done: what it draws is in there."""

    number: int
    body: CreateBody
    context: Context

    @property
    def owner(self) -> str:
        return reference_of(self.body.owner) or ""

    @property
    def organization(self) -> str:
        return reference_of(self.body.organization) or ""


@dataclass(frozen=True, slots=True)
class _Places:
    """The owners and organizations of a batch, read at once."""

    users: dict[str, User]
    organizations: dict[str, Organization]

    async def user(self, reference: str) -> User:
        try:
            return self.users[reference]
        except KeyError:
            raise UserUnknown("There is no such user.") from None

    async def organization(self, reference: str) -> Organization:
        try:
            return self.organizations[reference]
        except KeyError:
            raise OrganizationUnknown("There is no such organization.") from None


class ApplicationImport:
    """One import, in the context of its operator; each line is a command with an id of its own."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        directory: Directory,
        results: Results,
        context: Context,
        on_progress: Callable[[int, int], None] = lambda _done, _whole: None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._directory = directory
        self._results = results
        self._context = replace(context, correlation_id=results.import_id)
        self._on_progress = on_progress
        self.summary = Summary()

    async def run(self, file: IO[bytes], size: int) -> Summary:
        """Take a file of `size` bytes. Raises FileUnusable, ImportInterrupted."""
        for batch in batches_of(raw_lines_of(file, self.summary.failed.append), BATCH):
            try:
                await self._take(batch)
            except (TransientFailure, *TRANSIENT_ERRORS) as error:
                raise ImportInterrupted(_advice(error)) from None
            self._on_progress(batch[-1].end, size)
        self.summary.failed.sort(key=lambda one: one.line)
        return self.summary

    async def _take(self, batch: Sequence[RawLine]) -> None:
        wanted = self._left_of(batch)
        places = await self._places(wanted)
        outcomes = await asyncio.gather(
            *(self._create(one, places) for one in wanted), return_exceptions=True
        )
        results: list[Result] = []
        broken: list[BaseException] = []
        for one, outcome in zip(wanted, outcomes, strict=True):
            match outcome:
                case CreatedApplication():
                    results.append(_result(one, outcome))
                case RegistryError():
                    self.summary.failed.append(Fault(one.number, sentence_of(outcome)))
                case _:
                    broken.append(outcome)
        self._results.add(results)
        self.summary.added += len(results)
        if broken:
            raise broken[0]

    def _left_of(self, batch: Sequence[RawLine]) -> list[_Wanted]:
        """Return what is still to be done; what is no application is told, and left out."""
        left: dict[str, _Wanted] = {}
        for line in batch:
            draws = self._results.draws(line.content)
            command_id = draws.command_id
            if command_id in self._results or command_id in left:
                self.summary.unchanged += 1
                continue
            try:
                body = parse(CreateBody, line.content)
            except Problem as problem:
                self.summary.failed.append(Fault(line.number, _reason(problem)))
                continue
            context = replace(self._context, command_id=command_id, random=draws.random)
            left[command_id] = _Wanted(line.number, body, context)
        return list(left.values())

    async def _places(self, wanted: Sequence[_Wanted]) -> _Places:
        return _Places(
            await self._directory.users_by({one.owner for one in wanted}),
            await self._directory.organizations_by({one.organization for one in wanted}),
        )

    async def _create(self, one: _Wanted, places: _Places) -> CreatedApplication:
        return await create(
            one.body.wanted(),
            by=None,
            settings=self._settings,
            store=self._store,
            directory=places,
            context=one.context,
        )


def _result(one: _Wanted, created: CreatedApplication) -> Result:
    return Result(
        line=one.number,
        command_id=one.context.command_id,
        id=created.application_id,
        client_id=created.client_id,
        client_secret=created.client_secret,
        name=created.view.name,
        organization=created.view.organization.name,
        owner=one.owner,
    )


def _advice(error: BaseException) -> str:
    what = str(error) or type(error).__name__
    return f"{what}; what was added is safe: give the same command again, and it goes on"


def _reason(problem: Problem) -> str:
    """Return what is wrong with a line, member by member."""
    if not problem.errors:
        return NO_OBJECT
    return "; ".join(f"{_member(one.pointer)}{one.detail}" for one in problem.errors)


def _member(pointer: str | None) -> str:
    path = (pointer or "#").removeprefix("#/").replace("/", ".")
    return "" if path in ("", "#") else f"{path}: "
