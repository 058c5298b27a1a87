"""The log in Postgres: appends with gap-free positions, and reads.

All appends of a process go through one connection that takes what waits into one transaction, and
gives every command its own result. Positions are given out under one lock that is held until
commit: a reader who sees position p has been able to see every position below p.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Self

import asyncpg
import msgspec
from prometheus_client import Counter, Histogram

from services.registry import projection
from services.registry.domain import RegistryError
from services.registry.ports import Append, WrongExpectedVersion
from shared.database_words import reason_of
from shared.envelope import Envelope, Metadata, as_of_today, decode_event
from shared.events import NO_PRIVATE_DATA, Event
from shared.failures import TransientFailure
from shared.logs import get_logger
from shared.postgres import POSTGRES_ERRORS, TRANSIENT_ERRORS, Connection, Pool, Url, connect
from shared.recurring import Recurring
from shared.tasks import end
from shared.tracing import part, traceparent
from shared.upcasters import version_of

CHANNEL = "registry_log"
# How long the outcome of a commit whose answer was lost is looked for.
RESOLVE_SECONDS = 5.0
# How long a writer that says nothing may keep the log's lock. Less than the above, so that an
# outcome is known even when the commit never arrived and the server has not noticed the loss.
SILENCE_SECONDS = 3
# Whoever holds it until the end of their transaction is alone with log and read model.
LOCK_LOG = "SELECT position FROM registry.log_head FOR UPDATE"
# The next statement follows at once, or the writer is stopped or cut off: then the server ends its
# session, since nobody else can append as long as it holds the lock.
LOCK_LOG_TO_WRITE = (
    f"SET LOCAL idle_in_transaction_session_timeout = '{SILENCE_SECONDS}s'; {LOCK_LOG}"
)
log = get_logger(__name__)

APPENDED = Counter("oauthapps_registry_events_appended_total", "Events appended", ["type"])
APPEND_SECONDS = Histogram(
    "oauthapps_registry_append_duration_seconds",
    "How long a command waited for its events to be stored, its turn included",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
APPENDS = Counter(
    "oauthapps_registry_appends_total",
    "Commands that came to the log, by what became of them",
    ["outcome"],
)
for _outcome in ("stored", "refused", "unavailable", "unknown", "failed"):
    # From the beginning: the first one counts in a rate only where there was none before.
    APPENDS.labels(_outcome)
BATCH = Histogram(
    "oauthapps_registry_append_batch_commands",
    "Commands that one transaction took together",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200),
)


class StoreUnavailable(TransientFailure):
    """Postgres did not take the command; nothing of it was stored."""


class OutcomeUnknown(TransientFailure):
    """Postgres was lost at commit; the same command id, sent again, tells or stores."""


@dataclass(frozen=True, slots=True)
class Head:
    """Which history this is and its last position."""

    log_epoch: str
    position: int


@dataclass(slots=True)
class _Waiting:
    command: Append
    done: asyncio.Future[list[Envelope]] = field(repr=False)
    # Where all that follows from it is told.
    traceparent: str | None = None


class EventStore:
    """The log. Use as an async context manager: its writer runs as long as the block."""

    def __init__(
        self,
        dsn: Url,
        pool: Pool,
        *,
        batch_commands: int = 200,
        batch_delay: timedelta = timedelta(milliseconds=2),
        on_append: Callable[[], None] = lambda: None,
    ) -> None:
        self._dsn = dsn
        self._pool = pool
        self._limit = batch_commands
        self._delay_seconds = batch_delay.total_seconds()
        self._on_append = on_append
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._connection: Connection | None = None
        self._writer: asyncio.Task[None] | None = None
        self._failing = Recurring(log, "append failed", over="appends are stored again")

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._write_forever())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            await end(self._writer)
        while not self._waiting.empty():
            _refuse(self._waiting.get_nowait(), StoreUnavailable("the registry is stopping"))
        await self._disconnect()

    async def append(self, command: Append) -> list[Envelope]:
        """Store a command's events and return them with their places.

        A command id that is in the log already is not stored again: its events are returned.
        Raises WrongExpectedVersion or another RegistryError (nothing stored), StoreUnavailable
        (nothing stored) or OutcomeUnknown (send the same command id again).
        """
        if self._writer is None or self._writer.done():
            raise StoreUnavailable("the registry is stopping")
        with part("append", attributes={"oauthapps.command_id": command.command_id}):
            return await self._append(command)

    async def _append(self, command: Append) -> list[Envelope]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Envelope]] = loop.create_future()
        begun = loop.time()
        await self._waiting.put(_Waiting(command, done, traceparent()))
        try:
            stored = await done
        except Exception as error:
            APPENDS.labels(_outcome_of(error)).inc()
            raise
        APPENDS.labels("stored").inc()
        APPEND_SECONDS.observe(loop.time() - begun)
        return stored

    async def load(self, stream: str) -> list[Envelope]:
        """Return a stream's events, oldest first, without their private parts."""
        return [_envelope(row) for row in await self._pool.fetch(_LOAD, stream)]

    async def outcome(self, command_id: str) -> list[Envelope]:
        """Return what a command has appended, without its private part; nothing if it has not."""
        return await _stored(self._pool, command_id)

    async def head(self) -> Head:
        """Return the log's epoch and last position."""
        row = await self._pool.fetchrow(_HEAD)
        assert row is not None  # noqa: S101 - the first migration made the row
        return Head(str(row["epoch"]), row["position"])

    async def begin_epoch(self) -> Head:
        """Make the log another history from here on, and return its head."""
        row = await self._pool.fetchrow(_NEW_EPOCH)
        assert row is not None  # noqa: S101 - the first migration made the row
        return Head(str(row["epoch"]), row["position"])

    async def barrier(self) -> None:
        """Return when every append that had begun before the call has ended."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK_LOG)

    async def _write_forever(self) -> None:
        last = 0
        while True:
            batch = [await self._waiting.get()]
            try:
                await self._gather(batch, min(last, self._limit))
                last = len(batch)
                await self._write(batch)
            finally:
                # Cancelled in the middle: whoever waits learns that the outcome is not known.
                for one in batch:
                    _refuse(one, OutcomeUnknown("the registry is stopping"))

    async def _gather(self, batch: list[_Waiting], wanted: int) -> None:
        """Take what waits. Wait for more only if the last batch shows that others are at work."""
        self._take(batch)
        if len(batch) < wanted:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._delay_seconds):
                    while len(batch) < wanted:
                        batch.append(await self._waiting.get())
                        self._take(batch)

    def _take(self, batch: list[_Waiting]) -> None:
        while len(batch) < self._limit and not self._waiting.empty():
            batch.append(self._waiting.get_nowait())

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        """Store a batch; one that fails as a whole is tried command by command."""
        try:
            await self._transact(batch)
        except _CommitLost:
            await self._resolve(batch)
        except TRANSIENT_ERRORS as error:
            await self._disconnect()
            reason = reason_of(error)
            self._failing.say(reason, commands=len(batch))
            for one in batch:
                _refuse(one, StoreUnavailable(reason))
        except Exception as error:
            await self._disconnect()
            if len(batch) > 1:
                for one in batch:
                    await self._write([one])
                return
            log.exception("append failed")
            _refuse(batch[0], error)

    async def _transact(self, batch: Sequence[_Waiting]) -> None:
        connection = await self._connected()
        await connection.execute(_BEGIN)
        accepted, results = await self._admit(connection, batch)
        if accepted:
            await _insert(connection, accepted)
            await projection.apply(connection, accepted)
        try:
            await connection.execute("COMMIT")
        except TRANSIENT_ERRORS as error:
            raise _CommitLost from error
        for waiting, result in zip(batch, results, strict=True):
            if isinstance(result, RegistryError):
                _refuse(waiting, result)
            elif not waiting.done.done():
                waiting.done.set_result(result)
        self._failing.over()
        BATCH.observe(len(batch))
        if accepted:
            for envelope in accepted:
                APPENDED.labels(envelope.type).inc()
            self._on_append()

    async def _admit(
        self, connection: Connection, batch: Sequence[_Waiting]
    ) -> tuple[list[Envelope], list[list[Envelope] | RegistryError]]:
        """Decide under the lock which commands can be stored, and give them their positions."""
        streams = list({write.stream for one in batch for write in one.command.writes})
        events = _events(batch)
        row = await connection.fetchrow(
            _STATE,
            streams,
            [one.command.command_id for one in batch],
            *projection.claims_of(event for _, event in events),
        )
        assert row is not None  # noqa: S101 - the first migration made the row
        versions = dict(zip(streams, row["versions"], strict=True))
        known = {str(one) for one in row["known"]}
        refusals = _refusals(len(batch), events, row["claims"])
        position: int = row["position"]
        placed: dict[str, list[Envelope]] = {}
        names: set[tuple[str, str, str]] = set()
        accepted: list[Envelope] = []
        results: list[list[Envelope] | RegistryError] = []
        for one, refusal in zip(batch, refusals, strict=True):
            command = one.command
            if command.command_id in placed:
                # A retry that met its own first try in one batch.
                results.append(placed[command.command_id])
            elif command.command_id in known:
                results.append(await _stored(connection, command.command_id))
            elif any(versions[write.stream] != write.expected_version for write in command.writes):
                results.append(WrongExpectedVersion())
            elif refusal is not None:
                results.append(refusal)
            elif names & (claimed := _names(command)):
                results.append(projection.NameTaken())
            else:
                names |= claimed
                envelopes = placed[command.command_id] = _place(one, position)
                position += len(envelopes)
                for envelope in envelopes:
                    versions[envelope.stream] = envelope.version
                accepted += envelopes
                results.append(envelopes)
        return accepted, results

    async def _resolve(self, batch: Sequence[_Waiting]) -> None:
        """Find out what became of a batch whose commit was not answered."""
        await self._disconnect()
        log.warning("commit unanswered, looking up its outcome", commands=len(batch))
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                while True:
                    try:
                        await self._look_up(batch)
                    except POSTGRES_ERRORS:
                        # Also one that is up and refuses us: the writer must outlive it.
                        await self._disconnect()
                        await asyncio.sleep(0.1)
                    else:
                        return
        except TimeoutError:
            # Interrupted in the middle of a transaction: of no use to the next batch.
            await self._disconnect()
            for one in batch:
                _refuse(one, OutcomeUnknown("Postgres was lost at commit"))

    async def _look_up(self, batch: Sequence[_Waiting]) -> None:
        connection = await self._connected()
        # The lost transaction, if it still runs, holds the lock until its end.
        await connection.execute(_BEGIN)
        for one in batch:
            envelopes = await _stored(connection, one.command.command_id)
            if not envelopes:
                _refuse(one, StoreUnavailable("Postgres was lost before the commit"))
            elif not one.done.done():
                one.done.set_result(envelopes)
        await connection.execute("ROLLBACK")
        self._on_append()

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._dsn)
        return self._connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            # Not closed politely: whatever transaction is open ends with the connection.
            self._connection.terminate()
            self._connection = None


class _CommitLost(Exception):
    """The connection went while a commit was under way."""


def _outcome_of(error: Exception) -> str:
    match error:
        case RegistryError():
            return "refused"
        case StoreUnavailable():
            return "unavailable"
        case OutcomeUnknown():
            return "unknown"
        case _:
            return "failed"


def _refuse(waiting: _Waiting, error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)


def _events(batch: Sequence[_Waiting]) -> list[tuple[int, Event]]:
    """Return all events of a batch, each with the index of its command."""
    return [
        (index, new.event)
        for index, one in enumerate(batch)
        for write in one.command.writes
        for new in write.events
    ]


def _refusals(
    commands: int, events: Sequence[tuple[int, Event]], claims: Sequence[tuple[bool, bool]]
) -> list[RegistryError | None]:
    """Return for each of the commands the read model's first objection, or None."""
    refusals: list[RegistryError | None] = [None] * commands
    objections = projection.objections((event for _, event in events), claims)
    for (index, _), objection in zip(events, objections, strict=True):
        refusals[index] = refusals[index] or objection
    return refusals


def _names(command: Append) -> set[tuple[str, str, str]]:
    """Return the names a command lays claim to: two commands of one batch must not share one."""
    return {
        (event.organization_id, event.owner_id, event.name)
        for write in command.writes
        for event in (new.event for new in write.events)
        if isinstance(event, projection.NAMING_EVENTS)
    }


def _place(waiting: _Waiting, position: int) -> list[Envelope]:
    """Give a command's events their positions and versions."""
    command = waiting.command
    envelopes = []
    for write in command.writes:
        for version, new in enumerate(write.events, start=write.expected_version + 1):
            position += 1
            event_type = type(new.event).__name__
            envelopes.append(
                Envelope(
                    position=position,
                    id=str(uuid.uuid4()),
                    stream=write.stream,
                    version=version,
                    type=event_type,
                    time=command.time,
                    event=new.event,
                    private=new.private,
                    metadata=Metadata(
                        command_id=command.command_id,
                        actor=command.actor,
                        correlation_id=command.correlation_id or command.command_id,
                        schema_version=version_of(event_type),
                        by=command.by,
                        traceparent=waiting.traceparent,
                    ),
                )
            )
    return envelopes


_BEGIN = f"BEGIN ISOLATION LEVEL READ COMMITTED; {LOCK_LOG_TO_WRITE}"
_HEAD = "SELECT epoch, position FROM registry.log_head"
_NEW_EPOCH = "UPDATE registry.log_head SET epoch = gen_random_uuid() RETURNING epoch, position"

# A statement of its own after the lock: only then does it see what the last writer committed.
_STATE = f"""
SELECT h.position,
       ARRAY (SELECT coalesce((SELECT max(e.version) FROM registry.events e
                                WHERE e.stream = s.stream), 0)
                FROM unnest($1::uuid[]) WITH ORDINALITY AS s (stream, n)
               ORDER BY n)                                                   AS versions,
       ARRAY (SELECT DISTINCT e.command_id FROM registry.events e
               WHERE e.command_id = ANY ($2::uuid[]))                        AS known,
       ARRAY ({projection.CLAIMS})                                           AS claims
  FROM registry.log_head h
"""  # noqa: S608 - a constant of ours

# Events, head and wake-up in one round trip. The wake-up is sent at commit, once a batch.
_INSERT = """
WITH appended AS (
    INSERT INTO registry.events (position, id, stream, version, type, time,
                                 data, private, metadata, command_id)
    SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::integer[], $5::text[],
                         $6::timestamptz[], $7::json[], $8::json[], $9::json[], $10::uuid[])
), moved AS (
    UPDATE registry.log_head SET position = $11
)
SELECT pg_notify($12, $11::text)
"""

_COLUMNS = "position, id, stream, version, type, time, data, metadata"
_LOAD = f"SELECT {_COLUMNS} FROM registry.events WHERE stream = $1 ORDER BY version"  # noqa: S608
_BY_COMMAND = f"SELECT {_COLUMNS} FROM registry.events WHERE command_id = $1 ORDER BY position"  # noqa: S608


async def _insert(connection: Connection, envelopes: Sequence[Envelope]) -> None:
    await connection.execute(
        _INSERT,
        [one.position for one in envelopes],
        [one.id for one in envelopes],
        [one.stream for one in envelopes],
        [one.version for one in envelopes],
        [one.type for one in envelopes],
        [one.time for one in envelopes],
        [_json(one.event) for one in envelopes],
        [None if one.private == NO_PRIVATE_DATA else _json(one.private) for one in envelopes],
        [_json(one.metadata) for one in envelopes],
        [one.metadata.command_id for one in envelopes],
        envelopes[-1].position,
        CHANNEL,
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _envelope(row: asyncpg.Record) -> Envelope:
    metadata = msgspec.json.decode(row["metadata"], type=Metadata)
    return Envelope(
        position=row["position"],
        id=str(row["id"]),
        stream=str(row["stream"]),
        version=row["version"],
        type=row["type"],
        time=row["time"],
        event=decode_event(row["type"], row["data"], metadata.schema_version),
        private=NO_PRIVATE_DATA,
        metadata=as_of_today(row["type"], metadata),
    )


async def _stored(source: Pool | Connection, command_id: str) -> list[Envelope]:
    return [_envelope(row) for row in await source.fetch(_BY_COMMAND, command_id)]
