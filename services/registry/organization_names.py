"""Copying an organization's new name to where its applications are sorted and filtered by it.

Until all have it, the organization keeps the names it had, and lists look under each of them.
"""

import asyncio
import uuid

from services.registry.event_store import LOCK_LOG_TO_WRITE
from shared.interruptions import Interruptions
from shared.logs import get_logger
from shared.postgres import POSTGRES_ERRORS, Pool

WATCH_SECONDS = 1.0
# Applications that are changed under the log's lock at a time.
BATCH = 500
log = get_logger(__name__)


async def copy_names(pool: Pool) -> int:
    """Copy the names of all organizations that were renamed; return to how many applications.

    Can be broken off anywhere, and done by several at once.
    """
    copied = 0
    for row in await pool.fetch(_RENAMED):
        while count := await copy_batch(pool, row["id"], row["name"]):
            copied += count
    return copied


async def copy_batch(pool: Pool, organization_id: uuid.UUID, name: str) -> int:
    """Copy to a batch; when none is left, forget the names before. Return how many there were."""
    async with pool.acquire() as connection, connection.transaction():
        # No application is added under the old name meanwhile: who adds one holds it too.
        await connection.execute(LOCK_LOG_TO_WRITE)
        rows = await connection.fetch(_COPY, organization_id, name, BATCH)
        if not rows:
            await connection.execute(_FORGET, organization_id, name)
        return len(rows)


async def copy_names_forever(pool: Pool) -> None:
    """Copy names soon after each change, until cancelled."""
    uncopied = Interruptions(
        log, "organization's name not copied", over="organizations' names are copied again"
    )
    while True:
        try:
            await copy_names(pool)
        except POSTGRES_ERRORS as error:
            uncopied.note(error)
        else:
            uncopied.over()
        await asyncio.sleep(WATCH_SECONDS)


_RENAMED = "SELECT id, name FROM registry.organizations WHERE former_names <> '{}'"
# By the index of each key, so that a batch costs the same however many are left.
_COPY = """
UPDATE registry.applications SET organization_key = lower($2)
 WHERE id IN (SELECT a.id
                FROM registry.organizations o, unnest(o.former_names) AS former (name)
                JOIN registry.applications a ON a.organization_key = lower(former.name)
               WHERE o.id               = $1
                 AND a.organization_id  = $1
                 AND lower(former.name) <> lower($2)
               LIMIT $3)
RETURNING 1
"""
# Renamed again meanwhile: then it is not done.
_FORGET = "UPDATE registry.organizations SET former_names = '{}' WHERE id = $1 AND name = $2"
