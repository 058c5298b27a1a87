"""Usage of the applications' secrets: taken from the token service's reports, kept for a while."""

from datetime import date, datetime, timedelta

import msgspec
from prometheus_client import Counter

from services.registry import addresses
from services.registry.event_store import LOCK_LOG
from shared.postgres import Pool, acquired
from shared.pruning import prune_forever
from shared.usage import FailureReason, UsageReport

PRUNE_SECONDS = 600.0
PRUNE_ROWS = 5000
# A process that has been silent so long sends no report again.
REPORTER_DAYS = 7
# Days of one answer.
DAYS_LIMIT = 400
REPORTS = Counter("oauthapps_registry_usage_reports_total", "Reports of usage", ["outcome"])


class DayOfUse(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens one secret obtained on one day (UTC), and when the last."""

    date: date
    secret_id: str
    count: int
    last_used_at: datetime


class UsagePage(msgspec.Struct, frozen=True, kw_only=True):
    """Days of use, the latest first."""

    items: list[DayOfUse]
    next_cursor: None = None


class DayOfFailures(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests in an application's name were refused on one day (UTC), and why."""

    date: date
    reason: FailureReason
    count: int
    last_at: datetime


class FailuresPage(msgspec.Struct, frozen=True, kw_only=True):
    """Days of failures, the latest first."""

    items: list[DayOfFailures]
    next_cursor: None = None


class UsageRecords:
    """Usage in Postgres."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take(self, report: UsageReport) -> bool:
        """Count a report, all of it or nothing; tell whether it was a new one.

        What is said of applications that are gone is left out.
        """
        async with acquired(self._pool) as connection, connection.transaction():
            is_new = await connection.fetchval(_REPORTED, report.reporter, report.sequence)
            REPORTS.labels("new" if is_new else "repeated").inc()
            if not is_new:
                return False
            # Appends change applications in an order of their own, under this lock.
            await connection.execute(LOCK_LOG)
            await connection.execute(
                _COUNT,
                [one.application_id for one in report.uses],
                [one.secret_id for one in report.uses],
                [one.day for one in report.uses],
                [one.count for one in report.uses],
                [one.last_used_at for one in report.uses],
            )
            await connection.execute(
                _COUNT_FAILURES,
                [one.application_id for one in report.failures],
                [one.reason for one in report.failures],
                [one.day for one in report.failures],
                [one.count for one in report.failures],
                [one.last_at for one in report.failures],
            )
            if report.addresses:
                await addresses.keep(connection, report.addresses)
            return True

    async def of(self, application_id: str, *, days: int) -> list[DayOfUse]:
        """Return the use of an application's secrets in the last so many days."""
        rows = await self._pool.fetch(_OF, application_id, days)
        return [
            DayOfUse(
                date=row["day"],
                secret_id=str(row["secret_id"]),
                count=row["count"],
                last_used_at=row["last_used_at"],
            )
            for row in rows
        ]

    async def failures_of(self, application_id: str, *, days: int) -> list[DayOfFailures]:
        """Return what was refused in an application's name in the last so many days, and why."""
        rows = await self._pool.fetch(_FAILURES_OF, application_id, days)
        return [
            DayOfFailures(
                date=row["day"], reason=row["reason"], count=row["count"], last_at=row["last_at"]
            )
            for row in rows
        ]

    async def of_last_day(self, application_id: str) -> int:
        """Return how often an application was used in the last 24 hours, to the hour."""
        count: int = await self._pool.fetchval(_OF_LAST_DAY, application_id)
        return count

    async def prune(self, keep: timedelta) -> int:
        """Remove a batch of what is too old; return how many rows, of the kind with the most."""
        days = await self._pool.fetch(_PRUNE, keep.days, PRUNE_ROWS)
        hours = await self._pool.fetch(_PRUNE_HOURS, PRUNE_ROWS)
        failures = await self._pool.fetch(_PRUNE_FAILURES, keep.days, PRUNE_ROWS)
        await self._pool.execute(_PRUNE_REPORTERS, REPORTER_DAYS)
        places = await addresses.prune(self._pool, keep, PRUNE_ROWS)
        return max(len(days), len(hours), len(failures), places)

    async def prune_forever(self, keep: timedelta) -> None:
        """Remove what is too old, a batch at a time, until cancelled."""
        await prune_forever(
            lambda: self.prune(keep), batch=PRUNE_ROWS, seconds=PRUNE_SECONDS, what="usage"
        )


_REPORTED = """
INSERT INTO registry.usage_reporters AS r (reporter, sequence, seen_at) VALUES ($1, $2, now())
    ON CONFLICT (reporter) DO UPDATE SET sequence = excluded.sequence, seen_at = now()
 WHERE r.sequence < excluded.sequence
RETURNING true
"""
_COUNT = """
WITH told AS (
    SELECT t.*
      FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::bigint[], $5::timestamptz[])
           AS t (application_id, secret_id, day, count, last_used_at)
      JOIN registry.applications a ON a.id = t.application_id
), counted AS (
    INSERT INTO registry.usage AS u (application_id, secret_id, day, count, last_used_at)
    SELECT * FROM told
        ON CONFLICT (application_id, secret_id, day) DO UPDATE
       SET count        = u.count + excluded.count,
           last_used_at = greatest(u.last_used_at, excluded.last_used_at)
), counted_by_hour AS (
    -- A report tells of some seconds: all of it is of the hour of the last use.
    INSERT INTO registry.usage_hours AS h (application_id, hour, count)
    SELECT application_id, date_trunc('hour', last_used_at), sum(count) FROM told GROUP BY 1, 2
        ON CONFLICT (application_id, hour) DO UPDATE SET count = h.count + excluded.count
)
UPDATE registry.applications a
   SET last_used_at = l.last_used_at
  FROM (SELECT application_id, max(last_used_at) AS last_used_at FROM told GROUP BY 1) AS l
 WHERE a.id = l.application_id
   AND (a.last_used_at IS NULL OR a.last_used_at < l.last_used_at)
"""
_OF = """
SELECT day, secret_id, count, last_used_at
  FROM registry.usage
 WHERE application_id = $1 AND day > (now() AT TIME ZONE 'UTC')::date - $2::integer
 ORDER BY day DESC, last_used_at DESC
"""
# Of applications that are there: a report may come late.
_COUNT_FAILURES = """
INSERT INTO registry.failures AS f (application_id, reason, day, count, last_at)
SELECT t.*
  FROM unnest($1::uuid[], $2::text[], $3::date[], $4::bigint[], $5::timestamptz[])
       AS t (application_id, reason, day, count, last_at)
  JOIN registry.applications a ON a.id = t.application_id
    ON CONFLICT (application_id, day, reason) DO UPDATE
   SET count = f.count + excluded.count, last_at = greatest(f.last_at, excluded.last_at)
"""
_FAILURES_OF = """
SELECT day, reason, count, last_at
  FROM registry.failures
 WHERE application_id = $1 AND day > (now() AT TIME ZONE 'UTC')::date - $2::integer
 ORDER BY day DESC, last_at DESC, reason
"""
_PRUNE_FAILURES = """
DELETE FROM registry.failures
 WHERE (application_id, day, reason) IN (
    SELECT application_id, day, reason
      FROM registry.failures
     WHERE day < (now() AT TIME ZONE 'UTC')::date - $1::integer
     LIMIT $2
       FOR UPDATE SKIP LOCKED)
RETURNING 1
"""
_OF_LAST_DAY = """
SELECT coalesce(sum(count), 0)::bigint
  FROM registry.usage_hours
 WHERE application_id = $1 AND hour > now() - interval '24 hours'
"""
_PRUNE_HOURS = """
DELETE FROM registry.usage_hours
 WHERE (application_id, hour) IN (
    SELECT application_id, hour
      FROM registry.usage_hours
     WHERE hour < now() - interval '25 hours'
     LIMIT $1
       FOR UPDATE SKIP LOCKED)
RETURNING 1
"""
# The last day of a secret stays: since when it has not been used is what it is asked for. Every
# replica prunes: none waits for rows that another one removes.
_PRUNE = """
DELETE FROM registry.usage
 WHERE (application_id, secret_id, day) IN (
    SELECT u.application_id, u.secret_id, u.day
      FROM registry.usage u
     WHERE u.day < (now() AT TIME ZONE 'UTC')::date - $1::integer
       AND (   EXISTS (SELECT FROM registry.usage n
                        WHERE n.application_id = u.application_id
                          AND n.secret_id      = u.secret_id
                          AND n.day            > u.day)
            OR NOT EXISTS (SELECT FROM registry.applications a WHERE a.id = u.application_id))
     LIMIT $2
       FOR UPDATE SKIP LOCKED)
RETURNING 1
"""
_PRUNE_REPORTERS = """
DELETE FROM registry.usage_reporters WHERE seen_at < now() - $1::integer * interval '1 day'
"""
