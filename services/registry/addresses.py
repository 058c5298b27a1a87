"""From which addresses applications obtain tokens, if the token service is told to report it.

The first addresses of an application that are heard of are where it is at home. Each one that comes
later is entered in the list of first uses, which the notifier reads. Never in logs or metrics.
"""

from collections.abc import Sequence
from datetime import timedelta

from shared.postgres import Connection, Pool
from shared.usage import AddressSeen, FirstUse

# The newest of an application; one that comes from more is told of some of them again.
MOST_OF_AN_APPLICATION = 1000
# So many first uses of an application within 24 hours: whoever gets more mails reads none.
MOST_A_DAY = 10
# First uses of one answer.
FIRST_USES = 1000


async def keep(connection: Connection, seen: Sequence[AddressSeen]) -> None:
    """Keep what was seen, in the caller's transaction, which holds the log's lock."""
    fresh = await connection.fetch(
        _KEEP,
        [one.application_id for one in seen],
        [one.address for one in seen],
        [one.first_seen_at for one in seen],
        [one.last_seen_at for one in seen],
        MOST_A_DAY,
    )
    if fresh:
        ids = [row["application_id"] for row in fresh]
        await connection.execute(_BOUND, ids, MOST_OF_AN_APPLICATION)


async def first_uses(pool: Pool, after: int) -> list[FirstUse]:
    """Return the first uses after a number, those of applications that are still there."""
    return [
        FirstUse(
            number=row["number"],
            id=str(row["id"]),
            application_id=str(row["application_id"]),
            client_id=row["client_id"],
            organization_id=str(row["organization_id"]),
            owner_id=str(row["owner_id"]),
            name=row["name"],
            address=row["address"],
            seen_at=row["seen_at"],
        )
        for row in await pool.fetch(_FIRST_USES, after, FIRST_USES)
    ]


async def erase(connection: Connection, owner_ids: Sequence[str]) -> None:
    """Forget the addresses of these people's applications."""
    await connection.execute(_ERASE, list(owner_ids))


async def prune(pool: Pool, age: timedelta, batch: int) -> int:
    """Remove a batch of what is older; return how many rows, of the kind with the most."""
    addresses = await pool.fetch(_PRUNE, age, batch)
    entries = await pool.fetch(_PRUNE_FIRST_USES, age, batch)
    return max(len(addresses), len(entries))


# Of an application that is gone, or whose owner is disabled or erased, nothing is kept: a report
# may come late. All parts of the statement see the table as it was before, and the lock lets nobody
# else add to it. The time of the last use is kept to the hour, so that most reports write nothing.
_KEEP = """
WITH told AS (
    SELECT t.application_id, t.address, min(t.first_seen_at) AS first_seen_at,
           max(t.last_seen_at) AS last_seen_at
      FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[])
           AS t (application_id, address, first_seen_at, last_seen_at)
      JOIN registry.applications a ON a.id = t.application_id
      JOIN registry.users        u ON u.id = a.owner_id AND u.active
     GROUP BY t.application_id, t.address
), kept AS (
    INSERT INTO registry.addresses AS k (application_id, address, first_seen_at, last_seen_at)
    SELECT * FROM told
        ON CONFLICT (application_id, address) DO UPDATE
       SET last_seen_at = excluded.last_seen_at
     WHERE k.last_seen_at < excluded.last_seen_at - interval '1 hour'
), fresh AS (
    SELECT application_id, address, first_seen_at,
           row_number() OVER (PARTITION BY application_id ORDER BY first_seen_at, address) AS nth
      FROM told t
     WHERE NOT EXISTS (SELECT FROM registry.addresses k
                        WHERE k.application_id = t.application_id AND k.address = t.address)
), entered AS (
    INSERT INTO registry.first_uses (application_id, address, seen_at)
    SELECT application_id, address, first_seen_at
      FROM fresh f
     WHERE EXISTS (SELECT FROM registry.addresses k WHERE k.application_id = f.application_id)
       AND nth + (SELECT count(*)
                    FROM registry.first_uses e
                   WHERE e.application_id = f.application_id
                     AND e.seen_at        > f.first_seen_at - interval '24 hours') <= $5
     ORDER BY first_seen_at, application_id, address
)
SELECT DISTINCT application_id FROM fresh
"""
_BOUND = """
DELETE FROM registry.addresses k
 USING unnest($1::uuid[]) AS of (application_id)
 WHERE k.application_id = of.application_id
   AND k.last_seen_at < (SELECT n.last_seen_at
                           FROM registry.addresses n
                          WHERE n.application_id = of.application_id
                          ORDER BY n.last_seen_at DESC
                         OFFSET $2 - 1
                          LIMIT 1)
"""
_FIRST_USES = """
SELECT e.number, e.id, e.application_id, a.client_id, a.organization_id, a.owner_id, a.name,
       e.address, e.seen_at
  FROM registry.first_uses e
  JOIN registry.applications a ON a.id = e.application_id
 WHERE e.number > $1
 ORDER BY e.number
 LIMIT $2
"""
_ERASE = """
DELETE FROM registry.addresses k
 USING registry.applications a
 WHERE a.id = k.application_id AND a.owner_id = ANY ($1::uuid[])
"""
# The newest of an application stays: without it, the next one would count as where it is at home.
# Every replica prunes: none waits for rows that another one removes.
_PRUNE = """
DELETE FROM registry.addresses
 WHERE (application_id, address) IN (
    SELECT k.application_id, k.address
      FROM registry.addresses k
     WHERE k.last_seen_at < now() - $1::interval
       AND EXISTS (SELECT FROM registry.addresses n
                    WHERE n.application_id = k.application_id
                      AND n.last_seen_at   > k.last_seen_at)
     LIMIT $2
       FOR UPDATE OF k SKIP LOCKED)
RETURNING 1
"""
_PRUNE_FIRST_USES = """
DELETE FROM registry.first_uses
 WHERE number IN (
    SELECT number
      FROM registry.first_uses
     WHERE seen_at < now() - $1::interval
     LIMIT $2
       FOR UPDATE SKIP LOCKED)
RETURNING 1
"""
