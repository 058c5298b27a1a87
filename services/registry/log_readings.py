"""Where the log and its relay stand, for `/metrics`: read from the database when somebody looks."""

import asyncio
import time
from collections.abc import Iterable

import asyncpg
from prometheus_client.metrics_core import Metric

from shared.metrics import Reading
from shared.postgres import POSTGRES_ERRORS, Pool

# One that hangs is one that is away; less than `/metrics` waits for all of us.
ANSWER_SECONDS = 2.0

LOG = Reading("oauthapps_registry_log_info", "Always 1; which history the log is", ["epoch"])
POSITION = Reading("oauthapps_registry_log_position", "Last event of the log")
CONFIRMED = Reading(
    "oauthapps_registry_relay_position", "Last event of the log that the broker has confirmed"
)
LAG_EVENTS = Reading("oauthapps_registry_relay_lag_events", "Events appended and not yet confirmed")
LAG_SECONDS = Reading(
    "oauthapps_registry_relay_lag_seconds", "Age of the oldest event that is not yet confirmed"
)


class LogReadings:
    """Asks for head and cursor. With a database that is away, the lag is that of the last look."""

    def __init__(self, pool: Pool, *, has_relay: bool) -> None:
        self._pool = pool
        self._has_relay = has_relay
        # Events that wait, and since when by the monotonic clock.
        self._waiting: tuple[int, float | None] | None = None
        self._asking: asyncio.Future[asyncpg.Record | None] | None = None

    async def __call__(self) -> Iterable[Metric]:
        """Return the readings."""
        found: list[Metric] = []
        # Nobody confirms while it is away: what waited goes on waiting.
        row = await self._standing()
        if row is not None:
            found += [LOG.of(1, row["epoch"]), POSITION.of(row["head"])]
            since = None if row["age"] is None else time.monotonic() - float(row["age"])
            self._waiting = (row["head"] - row["confirmed"], since)
        if not self._has_relay or self._waiting is None:
            return found
        events, since = self._waiting
        seconds = 0.0 if since is None else max(0.0, time.monotonic() - since)
        found += [LAG_EVENTS.of(events), LAG_SECONDS.of(seconds)]
        return found if row is None else [*found, CONFIRMED.of(row["confirmed"])]

    async def _standing(self) -> asyncpg.Record | None:
        """Return where they stand; None when the database does not say so in time."""
        # Not cancelled, since the driver takes its time for that; and never two at once.
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())
        await asyncio.wait({self._asking}, timeout=ANSWER_SECONDS)
        if not self._asking.done():
            return None
        answer, self._asking = self._asking, None
        return answer.result()

    async def _ask(self) -> asyncpg.Record | None:
        try:
            return await self._pool.fetchrow(_STANDING)
        except POSTGRES_ERRORS:
            return None


# A cursor in another history has all of this one before it. The time of the next event by the
# primary key alone; by the database's clock, so that hosts need not agree.
_STANDING = """
SELECT s.epoch, s.head, s.confirmed, extract(epoch FROM now() - e.time) AS age
  FROM (SELECT h.epoch::text AS epoch,
               h.position AS head,
               CASE WHEN c.epoch = h.epoch THEN c.position ELSE 0 END AS confirmed
          FROM registry.log_head h, registry.relay_cursor c) s
  LEFT JOIN registry.events e ON e.position = s.confirmed + 1
"""
