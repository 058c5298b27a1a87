"""Does the log hold together, and does the read model say what the log says?

Everything is read at one moment, in one transaction, while others go on appending.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import asyncpg

from services.registry.walk import ROWS, STATEMENT_SECONDS, Story, differences, side_by_side
from shared.postgres import Connection, Pool, acquired

# Where everything is wrong, the first of it says what.
PROBLEMS_LISTED = 1000
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found: how much was read, and a sentence for each thing that is wrong.

    `problems` are the first thousand; `problem_count` counts all.
    """

    log_epoch: str
    position: int
    events: int
    applications: int
    problems: tuple[str, ...]
    problem_count: int

    def as_document(self) -> dict[str, Any]:
        """Return it as the command line prints it."""
        return {**asdict(self), "sound": self.problem_count == 0}


@dataclass(slots=True)
class Problems:
    """Sentences, as far as anybody will read them, and their number."""

    listed: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, *sentences: str) -> None:
        """Note what is wrong."""
        self.count += len(sentences)
        self.listed += sentences[: PROBLEMS_LISTED - len(self.listed)]


def to_nobody(_done: int, _all: int) -> None:
    """Report progress to nobody."""


async def verify(pool: Pool, *, on_progress: Progress = to_nobody) -> Verification:
    """Read log and read model and compare them; `on_progress` hears of events read and all."""
    async with (
        acquired(pool) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        head = await connection.fetchrow(HEAD)
        assert head is not None  # noqa: S101 - the first migration made the row
        problems = Problems()
        await holes(connection, head, problems)
        events = applications = reported = 0
        async for story, view in side_by_side(connection):
            problems.add(*story.problems, *_objections(story, view))
            applications += story.application() is not None
            events += story.events
            if events >= reported + ROWS:
                on_progress(reported := events, head["position"])
        async for row in connection.cursor(_ORPHANS, prefetch=ROWS, timeout=STATEMENT_SECONDS):
            problems.add(f"application {row['application_id']}: not there, but secrets of it")
    return Verification(
        log_epoch=head["epoch"],
        position=head["position"],
        events=events,
        applications=applications,
        problems=tuple(problems.listed),
        problem_count=problems.count,
    )


async def holes(connection: Connection, head: asyncpg.Record, problems: Problems) -> None:
    """Note positions that are missing, and a head or a relay's cursor that fits no event."""
    last = await connection.fetchval(_LAST)
    async for row in connection.cursor(_HOLES, prefetch=ROWS, timeout=STATEMENT_SECONDS):
        before, position = row
        problems.add(f"position {before + 1}: missing, {position} is the next")
    if last != head["position"]:
        problems.add(f"the head stands at {head['position']}, the last event at {last}")
    if head["published"] > head["position"]:
        problems.add(f"the relay stands at {head['published']}, beyond the head")


def _objections(story: Story, view: asyncpg.Record | None) -> list[str]:
    """Return what the read model says otherwise than the log. Never a name, never a digest."""
    match differences(story, view):
        case []:
            return []
        case ["existence"]:
            there = "in the read model, not in the log" if view else "not in the read model"
            return [f"application {story.id}: {there}"]
        case wrong:
            return [f"application {story.id}: the read model differs in {', '.join(wrong)}"]


HEAD = """
SELECT h.epoch::text AS epoch, h.position,
       CASE WHEN c.epoch = h.epoch THEN c.position ELSE 0 END AS published
  FROM registry.log_head h, registry.relay_cursor c
"""
_LAST = "SELECT coalesce(max(position), 0) FROM registry.events"
_HOLES = """
SELECT before, position
  FROM (SELECT position, lag(position, 1, 0::bigint) OVER (ORDER BY position) AS before
          FROM registry.events) AS e
 WHERE position <> before + 1
 ORDER BY position
"""
_ORPHANS = """
SELECT DISTINCT s.application_id
  FROM registry.application_secrets s
 WHERE NOT EXISTS (SELECT FROM registry.applications a WHERE a.id = s.application_id)
"""
