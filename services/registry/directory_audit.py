"""Who changed what in the directory, and when: written with the change, and then for good."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec

from services.registry.directory_decisions import Fact
from services.registry.handlers import Context
from services.registry.views import Moment
from shared.postgres import Connection, Pool


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """An organization or a user."""

    kind: str
    id: str


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `by` is the credential with which the actor made it, if there was one."""

    id: int
    time: Moment
    actor: str
    by: str | None
    action: str
    subject: Subject
    details: dict[str, Any]


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the audit, oldest first; `next_cursor` is the `after` of the next one."""

    items: list[AuditEntry]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit in Postgres."""

    pool: Pool

    async def page(
        self, *, after: int, limit: int, subject_id: str | None = None
    ) -> tuple[list[AuditEntry], int | None]:
        """Return entries after an id, and the id to go on after if there are more."""
        if subject_id is None:
            rows = await self.pool.fetch(_PAGE, after, limit + 1)
        else:
            rows = await self.pool.fetch(_PAGE_OF_ONE, after, limit + 1, subject_id)
        items = [_entry(row) for row in rows[:limit]]
        return items, items[-1].id if len(rows) > limit else None


async def record(connection: Connection, facts: Sequence[Fact], context: Context) -> None:
    """Write down facts, in the transaction that makes them true."""
    await connection.execute(
        _RECORD,
        context.now(),
        context.actor,
        context.by,
        [one.action for one in facts],
        [one.kind for one in facts],
        [one.subject_id for one in facts],
        [msgspec.json.encode(one.details).decode() for one in facts],
    )


def _entry(row: asyncpg.Record) -> AuditEntry:
    return AuditEntry(
        id=row["id"],
        time=row["time"],
        actor=row["actor"],
        by=row["correlation"],
        action=row["action"],
        subject=Subject(kind=row["subject_kind"], id=str(row["subject_id"])),
        details=msgspec.json.decode(row["details"]),
    )


_RECORD = """
INSERT INTO registry.directory_audit (time, actor, correlation, action, subject_kind,
                                      subject_id, details)
SELECT $1, $2, $3, f.action, f.kind, f.id, f.details
  FROM unnest($4::text[], $5::text[], $6::uuid[], $7::jsonb[])
       WITH ORDINALITY AS f (action, kind, id, details, n)
 ORDER BY f.n
"""
_SELECT = """
SELECT id, time, actor, correlation, action, subject_kind, subject_id, details
  FROM registry.directory_audit
 WHERE id > $1
"""
_PAGE = _SELECT + " ORDER BY id LIMIT $2"
_PAGE_OF_ONE = _SELECT + " AND subject_id = $3 ORDER BY id LIMIT $2"
