"""The read model made anew from the log, while everybody goes on reading and appending.

What differs from the log is put right, some applications at a time, each time in a transaction
that holds the log's lock: it reads all their events, so that it knows more than the walk that
found them, and what it writes is whole. No table is swapped: prepared statements of other
processes hold on to the tables they were planned for, and nobody has to wait longer than for a
large append. Whoever interrupts it leaves a read model that is as good as before or better.

Columns that the log does not know, such as when an application was last used, are never named
here, and so stay as they are; a digest that was blanked in the log stays too.
"""

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import asyncpg

from services.registry.domain import RegistryError
from services.registry.event_store import LOCK_LOG_TO_WRITE
from services.registry.name_search import key_of
from services.registry.verification import (
    HEAD,
    Problems,
    Progress,
    Verification,
    holes,
    to_nobody,
    verify,
)
from services.registry.walk import (
    ROWS,
    Story,
    differences,
    is_searchable,
    side_by_side,
    stories_of,
)
from shared.envelope import encode_json
from shared.postgres import Connection, Pool, acquired

# Applications that are put right under the lock at a time; as many as an append takes commands.
BATCH = 200


class LogDamaged(RegistryError):
    """The log has holes, so it cannot say what was; restore it first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """How many applications were put right and how many removed, and how it looks now."""

    written: int
    removed: int
    verification: Verification

    def as_document(self) -> dict[str, Any]:
        """Return it as the command line prints it."""
        found = self.verification.as_document()
        return {"written": self.written, "removed": self.removed, **found}


async def rebuild(
    pool: Pool, *, on_progress: Progress = to_nobody, on_verification: Progress = to_nobody
) -> Rebuild:
    """Make the read model say what the log says, and verify that it does. Raises LogDamaged.

    What stays wrong is among the problems of the verification. The pool needs two connections.
    """
    written = removed = 0
    async with aclosing(_wrong(pool, on_progress)) as batches:
        async for batch in batches:
            async with acquired(pool) as connection, connection.transaction():
                await connection.execute(LOCK_LOG_TO_WRITE)
                put, gone = await _put_right(connection, batch)
            written, removed = written + put, removed + gone
    await pool.execute(_DELETE_ORPHANS)
    return Rebuild(
        written=written,
        removed=removed,
        verification=await verify(pool, on_progress=on_verification),
    )


async def _wrong(pool: Pool, on_progress: Progress) -> AsyncGenerator[list[uuid.UUID], None]:
    """Yield the applications of which the read model says otherwise than the log."""
    async with (
        acquired(pool) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        head = await connection.fetchrow(HEAD)
        assert head is not None  # noqa: S101 - the first migration made the row
        problems = Problems()
        await holes(connection, head, problems)
        if problems.count:
            raise LogDamaged(problems.listed[0])
        batch: list[uuid.UUID] = []
        events = reported = 0
        async with aclosing(side_by_side(connection, with_searchability=True)) as pairs:
            async for story, view in pairs:
                events += story.events
                if events >= reported + ROWS:
                    on_progress(reported := events, head["position"])
                if differences(story, view) or (view is not None and not is_searchable(view)):
                    batch.append(story.id)
                if len(batch) == BATCH:
                    yield batch
                    batch = []
        if batch:
            yield batch


async def _put_right(connection: Connection, ids: Sequence[uuid.UUID]) -> tuple[int, int]:
    """Write what the log says of some applications; return how many there are, and are not.

    An application whose events cannot be read is left as it is.
    """
    read: dict[uuid.UUID, Story] = {}
    rows: list[dict[str, Any]] = []
    while ids:
        read.update({one.id: one for one in await stories_of(connection, ids)})
        rows = [row for one in read.values() if (row := _application(one)) is not None]
        # Whoever bears a name or a Client ID that by the log is another's is wrong too.
        others = await connection.fetch(_IN_THE_WAY, _json(rows), list(read))
        ids = [row["id"] for row in others]
    gone = [one.id for one in read.values() if not one.problems and one.application() is None]
    await connection.execute(_REMOVE, gone)
    try:
        async with connection.transaction():
            await _put(connection, read, rows)
    except asyncpg.UniqueViolationError:
        # The log itself gives a name twice: it could be taken while the read model did not show
        # who had it. Whoever has it now keeps it until one of them is renamed.
        rows = [row for row in rows if await _was_put(connection, read, row)]
    return len(rows), len(gone)


async def _was_put(
    connection: Connection, read: dict[uuid.UUID, Story], row: dict[str, Any]
) -> bool:
    try:
        async with connection.transaction():
            await _put(connection, read, [row])
    except asyncpg.UniqueViolationError:
        return False
    return True


async def _put(
    connection: Connection, read: dict[uuid.UUID, Story], rows: Sequence[dict[str, Any]]
) -> None:
    ids = [uuid.UUID(row["id"]) for row in rows]
    secrets = [secret for id_ in ids for secret in read[id_].secrets()]
    # Two that exchanged their names must not meet on the way.
    await connection.execute(_MOVE_ASIDE, ids)
    await connection.execute(_PUT_APPLICATIONS, _json(rows))
    await connection.execute(_REMOVE_OTHER_SECRETS, ids, [one["id"] for one in secrets])
    await connection.execute(_PUT_SECRETS, _json(secrets))


def _application(story: Story) -> dict[str, Any] | None:
    row = None if story.problems else story.application()
    return row and {**row, "name_key": key_of(row["name"])}


def _json(rows: Sequence[dict[str, Any]]) -> str:
    return encode_json(rows).decode()


_IN_THE_WAY = """
WITH given AS (
    SELECT * FROM json_populate_recordset(NULL::registry.applications, $1::json)
), found AS (
    SELECT a.id FROM given g JOIN registry.applications a ON a.client_id = g.client_id
     UNION
    SELECT a.id FROM given g JOIN registry.applications a ON a.owner_id        = g.owner_id
                                                         AND a.organization_id = g.organization_id
                                                         AND a.name            = g.name
)
SELECT id FROM found WHERE id <> ALL ($2::uuid[])
"""
_REMOVE = """
WITH secret AS (DELETE FROM registry.application_secrets WHERE application_id = ANY ($1::uuid[]))
DELETE FROM registry.applications WHERE id = ANY ($1::uuid[])
"""
_MOVE_ASIDE = """
UPDATE registry.applications SET name = id::text, client_id = id::text WHERE id = ANY ($1::uuid[])
"""
_PUT_APPLICATIONS = """
INSERT INTO registry.applications AS a (id, client_id, organization_id, owner_id, name, description,
                                        active, scopes, not_before, expires_at, created_at,
                                        updated_at, version, name_key, name_parts, organization_key,
                                        keys, token_seconds, revoked)
SELECT g.id, g.client_id, g.organization_id, g.owner_id, g.name, g.description,
       g.active, g.scopes, g.not_before, g.expires_at, g.created_at,
       g.updated_at, g.version, g.name_key, registry.name_parts(g.name_key),
       coalesce(lower(o.name), ''), g.keys, g.token_seconds, g.revoked
  FROM json_populate_recordset(NULL::registry.applications, $1::json) g
  LEFT JOIN registry.organizations o ON o.id = g.organization_id
    ON CONFLICT (id) DO UPDATE
   SET client_id        = excluded.client_id,
       organization_id  = excluded.organization_id,
       owner_id         = excluded.owner_id,
       name             = excluded.name,
       description      = excluded.description,
       active           = excluded.active,
       scopes           = excluded.scopes,
       not_before       = excluded.not_before,
       expires_at       = excluded.expires_at,
       created_at       = excluded.created_at,
       updated_at       = excluded.updated_at,
       version          = excluded.version,
       name_key         = excluded.name_key,
       name_parts       = excluded.name_parts,
       organization_key = excluded.organization_key,
       keys             = excluded.keys,
       token_seconds    = excluded.token_seconds,
       revoked          = excluded.revoked
"""
_REMOVE_OTHER_SECRETS = """
DELETE FROM registry.application_secrets
 WHERE application_id = ANY ($1::uuid[]) AND id <> ALL ($2::uuid[])
"""
# A digest that was blanked in the log is known here alone.
_PUT_SECRETS = """
INSERT INTO registry.application_secrets AS s (id, application_id, hint, digest, created_at,
                                               expires_at, position)
SELECT id, application_id, hint, coalesce(digest, ''), created_at, expires_at, position
  FROM json_populate_recordset(NULL::registry.application_secrets, $1::json)
    ON CONFLICT (application_id, id) DO UPDATE
   SET hint       = excluded.hint,
       digest     = coalesce(nullif(excluded.digest, ''), s.digest),
       created_at = excluded.created_at,
       expires_at = excluded.expires_at,
       position   = excluded.position
"""
_DELETE_ORPHANS = """
DELETE FROM registry.application_secrets s
 WHERE NOT EXISTS (SELECT FROM registry.applications a WHERE a.id = s.application_id)
"""
