"""Does the log hold together, and does the read model say what the log says?

Everything is read at one moment, in one transaction, while others go on appending.
"""

from collections.abc import AsyncIterable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import asyncpg

from services.registry.domain import Application, NotCreated, State, evolve
from shared.envelope import UndecodableEvent, decode_event
from shared.postgres import Pool

ROWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found: how much was read, and a sentence for each thing that is wrong."""

    log_epoch: str
    position: int
    events: int
    applications: int
    problems: tuple[str, ...]

    def as_document(self) -> dict[str, Any]:
        """Return it as the command line prints it."""
        return {**asdict(self), "sound": not self.problems}


@dataclass(slots=True)
class _Stream:
    """What the events of one stream add up to; digests by secret, None for a blanked one."""

    state: State = field(default_factory=NotCreated)
    version: int = 0
    digests: dict[str, str | None] = field(default_factory=dict, repr=False)


async def verify(
    pool: Pool, *, on_progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Verification:
    """Read log and read model and compare them; `on_progress` hears of position and head."""
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        head = await connection.fetchrow(_HEAD)
        assert head is not None  # noqa: S101 - the first migration made the row
        log = _Log()
        async for row in connection.cursor(_EVENTS, prefetch=ROWS):
            log.take(row)
            if log.count % ROWS == 0:
                on_progress(row["position"], head["position"])
        log.end(head)
        problems = [*log.problems, *await _compared(connection.cursor(_VIEWS, prefetch=ROWS), log)]
    return Verification(
        log_epoch=head["epoch"],
        position=head["position"],
        events=log.count,
        applications=sum(isinstance(one.state, Application) for one in log.streams.values()),
        problems=tuple(problems),
    )


class _Log:
    """The log, folded as it is read."""

    def __init__(self) -> None:
        self.streams: dict[str, _Stream] = {}
        self.count = 0
        self.problems: list[str] = []
        self._position = 0

    def take(self, row: asyncpg.Record) -> None:
        """Take the next event."""
        self.count += 1
        position = row["position"]
        if position != self._position + 1:
            self.problems.append(f"position {self._position + 1}: missing, {position} is the next")
        self._position = position
        name = str(row["stream"])
        stream = self.streams.setdefault(name, _Stream())
        if row["version"] != stream.version + 1:
            self.problems.append(
                f"position {position}: version {row['version']} of {name}, "
                f"expected {stream.version + 1}"
            )
        stream.version = row["version"]
        try:
            event = decode_event(row["type"], row["data"])
            stream.state = evolve(stream.state, event, row["time"])
        except (UndecodableEvent, TypeError) as error:
            self.problems.append(f"position {position}: {error}")
            return
        secret = getattr(event, "secret", None)
        if secret is not None:
            stream.digests[secret.id] = row["digest"]

    def end(self, head: asyncpg.Record) -> None:
        """Compare what was read with what the head says, and the relay's cursor with it."""
        if self._position != head["position"]:
            self.problems.append(
                f"the head stands at {head['position']}, the last event at {self._position}"
            )
        if head["published"] > head["position"]:
            self.problems.append(f"the relay stands at {head['published']}, beyond the head")


async def _compared(views: AsyncIterable[asyncpg.Record], log: _Log) -> list[str]:
    """Return what the read model says otherwise than the log. Never a name, never a digest."""
    problems = []
    left = {id_ for id_, one in log.streams.items() if isinstance(one.state, Application)}
    async for row in views:
        id_ = str(row["id"])
        stream = log.streams.get(id_)
        if stream is None or not isinstance(stream.state, Application):
            problems.append(f"application {id_}: in the read model, not in the log")
            continue
        left.discard(id_)
        told, shown = _told(stream.state, stream), _shown(row, stream.digests)
        wrong = [name for name, value in told.items() if shown[name] != value]
        if wrong:
            problems.append(f"application {id_}: the read model differs in {', '.join(wrong)}")
    return problems + [f"application {id_}: not in the read model" for id_ in sorted(left)]


def _told(state: Application, stream: _Stream) -> dict[str, Any]:
    return {
        "client_id": state.client_id,
        "organization": state.organization_id,
        "owner": state.owner_id,
        "name": state.name,
        "description": state.description,
        "active": state.active,
        "scopes": list(state.scopes),
        "not_before": state.not_before,
        "expires_at": state.expires_at,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "version": stream.version,
        "secrets": [
            (one.id, one.hint, one.created_at, one.expires_at, stream.digests[one.id])
            for one in state.secrets.values()
        ],
    }


def _shown(row: asyncpg.Record, digests: dict[str, str | None]) -> dict[str, Any]:
    return {
        "client_id": row["client_id"],
        "organization": str(row["organization_id"]),
        "owner": str(row["owner_id"]),
        "name": row["name"],
        "description": row["description"],
        "active": row["active"],
        "scopes": list(row["scopes"]),
        "not_before": row["not_before"],
        "expires_at": row["expires_at"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "version": row["version"],
        "secrets": [
            # A digest that was blanked in the log cannot be compared.
            (str(id_), hint, created_at, expires_at, digests.get(str(id_)) and digest)
            for id_, hint, created_at, expires_at, digest in row["secrets"]
        ],
    }


_HEAD = """
SELECT h.epoch::text AS epoch, h.position,
       CASE WHEN c.epoch = h.epoch THEN c.position ELSE 0 END AS published
  FROM registry.log_head h, registry.relay_cursor c
"""
_EVENTS = """
SELECT position, stream, version, type, time, data, private ->> 'secret_digest' AS digest
  FROM registry.events
 ORDER BY position
"""
_VIEWS = """
SELECT a.*,
       ARRAY (SELECT (s.id, s.hint, s.created_at, s.expires_at, s.digest)
                FROM registry.application_secrets s
               WHERE s.application_id = a.id
               ORDER BY s.position) AS secrets
  FROM registry.applications a
"""
