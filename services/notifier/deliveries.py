"""Deliveries in Postgres: recorded once, claimed by one sender at a time, finished once.

    due ──claim──▶ sending ──▶ sent | suppressed | parked
     ▲                │
     └── due, unknown ┘   after a pause; also when the lease runs out

`unknown` waits like `due`, but the mail may have been taken already. `expired` came too late to be
sent, `discarded` was given up by an operator. Every change of a claimed delivery names the lease's
owner, so a sender that was away for too long cannot overwrite what another one did.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import asyncpg
import msgspec

from services.notifier.domain import Notification, Occurrence, message_id_of
from services.notifier.outcome import Verdict
from shared.postgres import Pool
from shared.subscription import BEGINNING, Cursor

State = Literal["due", "sending", "sent", "unknown", "parked", "suppressed", "expired", "discarded"]
ERROR_LIMIT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A delivery that is one sender's until its lease ends.

    `attempts` counts this one. `waited` is how long it has been due, by the database's clock.
    `taken_over` says that another sender began it and was not heard of again.
    """

    id: uuid.UUID
    owner: uuid.UUID
    template: str
    recipient: str
    context: dict[str, str]
    message_id: str
    attempts: int
    waited: timedelta
    created_at: datetime
    taken_over: bool


class Deliveries:
    """The table, and the cursor that moves with it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def cursor(self) -> Cursor:
        """Return how far the log has been read."""
        row = await self._pool.fetchrow(_CURSOR)
        return BEGINNING if row is None else Cursor(row["log_epoch"], row["position"])

    async def move_cursor(self, cursor: Cursor) -> None:
        """Go on from another place; what was recorded stays, so nothing is told twice."""
        await self._pool.execute(_SET_CURSOR, cursor.log_epoch, cursor.position)

    async def record(
        self,
        asked: Sequence[tuple[Occurrence, Notification]],
        cursor: Cursor,
        *,
        oldest: datetime,
        message_id_domain: str,
    ) -> None:
        """Record what events ask for and store the cursor, in one transaction.

        An event from before `oldest` is recorded as expired: whoever reads a long history for the
        first time must not send its mails.
        """
        rows = [
            (
                envelope.id,
                envelope.type,
                envelope.position,
                one.rule,
                one.template,
                one.recipient,
                msgspec.json.encode(one.context).decode(),
                message_id_of(envelope.id, one.rule, one.recipient, domain=message_id_domain),
                "due" if envelope.time >= oldest else "expired",
            )
            for envelope, one in asked
        ]
        async with self._pool.acquire() as connection, connection.transaction():
            if rows:
                await connection.executemany(_RECORD, rows)
            await connection.execute(_SET_CURSOR, cursor.log_epoch, cursor.position)

    async def claim(self, owner: uuid.UUID, lease: timedelta) -> Claim | None:
        """Return what has waited longest, for this owner alone until the lease ends."""
        row = await self._pool.fetchrow(_CLAIM, owner, lease)
        if row is None:
            return None
        context = msgspec.json.decode(row["context"], type=dict[str, str])
        return Claim(**{**row, "owner": owner, "context": context})

    async def settle(self, claim: Claim, verdict: Verdict) -> bool:
        """Note how an attempt ended; False when the lease has gone to another sender."""
        reason = verdict.reason
        done = await self._pool.execute(
            _SETTLE,
            claim.id,
            claim.owner,
            verdict.state,
            # Postgres takes no NUL in text, and a server's words have no limit.
            None if reason is None else reason.replace("\0", "")[:ERROR_LIMIT],
            verdict.pause,
            verdict.maybe_sent,
        )
        return _changed(done)

    async def let_go(self, owner: uuid.UUID) -> None:
        """Make due at once what an owner that ends has claimed and not handed over."""
        await self._pool.execute(_LET_GO, owner)

    async def backlog(self) -> tuple[dict[str, int], float]:
        """Return the number of unfinished deliveries by state, and the oldest one's wait.

        The wait is in seconds, 0 when nothing is due.
        """
        rows = await self._pool.fetch(_BACKLOG)
        return {row["state"]: row["count"] for row in rows}, max(
            (float(row["oldest"]) for row in rows if row["state"] != "parked"), default=0.0
        )

    async def newest(self, state: State | None, limit: int) -> list[dict[str, Any]]:
        """Return deliveries, in a state or in all, the newest first."""
        return [_row(row) for row in await self._pool.fetch(_NEWEST, state, limit)]

    async def find(self, delivery_id: uuid.UUID) -> dict[str, Any] | None:
        """Return a delivery, or None."""
        row = await self._pool.fetchrow(_FIND, delivery_id)
        return None if row is None else _row(row)

    async def retry(self, delivery_id: uuid.UUID) -> bool:
        """Make due now whatever is not being sent and was not sent; False: it is or was."""
        return _changed(await self._pool.execute(_MAKE_DUE, delivery_id))

    async def discard(self, delivery_id: uuid.UUID) -> bool:
        """Give up what is not being sent and was not sent; False: it is or was."""
        return _changed(await self._pool.execute(_DISCARD, delivery_id))


def _changed(tag: str) -> bool:
    return tag == "UPDATE 1"


def _row(row: asyncpg.Record) -> dict[str, Any]:
    return {**row, "id": str(row["id"]), "context": msgspec.json.decode(row["context"])}


_CURSOR = "SELECT log_epoch, position FROM notifier.cursor"
_SET_CURSOR = "UPDATE notifier.cursor SET log_epoch = $1, position = $2"

# A repeat is no fault here: the same event asks for the same mail, and the first record stands.
_RECORD = """
INSERT INTO notifier.deliveries (event_id, event_type, position, rule, template, recipient,
                                 context, message_id, state, finished_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN $9 = 'expired' THEN now() END)
ON CONFLICT (event_id, rule, recipient) DO NOTHING
"""

# While it is being sent, `next_attempt_at` is the end of the lease: a lease that ran out is taken
# over like anything else that has become due, and one index serves both.
_CLAIM = """
WITH next AS (
    SELECT id, state
      FROM notifier.deliveries
     WHERE state IN ('due', 'unknown', 'sending')
       AND next_attempt_at <= now()
     ORDER BY next_attempt_at
     LIMIT 1
       FOR UPDATE SKIP LOCKED
)
UPDATE notifier.deliveries AS delivery
   SET state           = 'sending',
       lease_owner     = $1,
       lease_until     = now() + $2::interval,
       next_attempt_at = now() + $2::interval,
       attempts        = attempts + 1
  FROM next
 WHERE delivery.id = next.id
RETURNING delivery.id, template, recipient, context, message_id, attempts,
          now() - due_since AS waited, created_at, next.state = 'sending' AS taken_over
"""
_SETTLE = """
UPDATE notifier.deliveries
   SET state            = $3,
       last_error       = $4,
       next_attempt_at  = coalesce(now() + $5::interval, next_attempt_at),
       finished_at      = CASE WHEN $5::interval IS NULL THEN now() END,
       unknown_outcomes = unknown_outcomes + CASE WHEN $6 THEN 1 ELSE 0 END,
       lease_owner      = NULL,
       lease_until      = NULL
 WHERE id = $1 AND lease_owner = $2
"""
_LET_GO = """
UPDATE notifier.deliveries
   SET state = 'due', next_attempt_at = now(), lease_owner = NULL, lease_until = NULL
 WHERE state = 'sending' AND lease_owner = $1
"""
_BACKLOG = """
SELECT state, count(*) AS count, extract(epoch FROM now() - min(due_since)) AS oldest
  FROM notifier.deliveries
 WHERE state IN ('due', 'unknown', 'sending')
 GROUP BY state
 UNION ALL
SELECT 'parked', count(*), 0
  FROM notifier.deliveries
 WHERE state = 'parked'
"""
_COLUMNS = """
id, event_id, event_type, position, rule, template, recipient, context, message_id, state, attempts,
unknown_outcomes, next_attempt_at, last_error, created_at, finished_at
"""
_NEWEST = f"""
SELECT {_COLUMNS}
  FROM notifier.deliveries
 WHERE $1::text IS NULL OR state = $1
 ORDER BY created_at DESC, id DESC
 LIMIT $2
"""  # noqa: S608 - the columns are ours
_FIND = f"SELECT {_COLUMNS} FROM notifier.deliveries WHERE id = $1"  # noqa: S608 - likewise
_MAKE_DUE = """
UPDATE notifier.deliveries
   SET state = 'due', attempts = 0, due_since = now(), next_attempt_at = now(), finished_at = NULL
 WHERE id = $1 AND state IN ('due', 'unknown', 'parked', 'suppressed', 'expired', 'discarded')
"""
_DISCARD = """
UPDATE notifier.deliveries
   SET state = 'discarded', finished_at = now()
 WHERE id = $1 AND state IN ('due', 'unknown', 'parked', 'suppressed', 'expired', 'discarded')
"""
