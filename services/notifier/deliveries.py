"""Deliveries in Postgres: recorded once, claimed by one sender at a time, finished once.

    due ──claim──▶ sending ──▶ sent | suppressed | parked | expanded
     ▲                │
     └── due, unknown ┘   after a pause; also when the lease runs out

`unknown` waits like `due`, but the mail may have been taken already. `expired` came too late to be
sent, `discarded` was given up by an operator. `expanded` stood for several people, of whom each has
a delivery now. Every change of a claimed delivery names the lease's
owner, so a sender that was away for too long cannot overwrite what another one did. An owner holds
one claim at a time: when the database's answer to a claim is lost, the owner finds it again.
"""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple

import asyncpg
import msgspec

from services.notifier.domain import Notification, Occurrence, message_id_of
from services.notifier.outcome import Verdict
from shared.postgres import Connection, Pool, acquired
from shared.subscription import BEGINNING, Cursor

State = Literal[
    "due", "sending", "sent", "unknown", "parked", "suppressed", "expired", "discarded", "expanded"
]
ERROR_LIMIT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A delivery that is one sender's until its lease ends.

    `attempts` counts this one. `waited` is how long it has been due, by the database's clock.
    `taken_over` says that another sender began it and was not heard of again. `traceparent` is
    where what happens to it is told, if that is traced.
    """

    id: uuid.UUID
    owner: uuid.UUID
    event_id: str
    event_type: str
    template: str
    recipient: str
    context: dict[str, str]
    message_id: str
    attempts: int
    waited: timedelta
    created_at: datetime
    taken_over: bool
    correlation_id: str | None
    traceparent: str | None

    @property
    def ids(self) -> dict[str, str]:
        """What log lines and spans about it say."""
        ids = {"delivery": str(self.id), "causation_id": self.event_id}
        if self.correlation_id is not None:
            ids["correlation_id"] = self.correlation_id
        return ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which deliveries; None is any. `recipient` and `application` are ids, the ends exclusive."""

    state: State | None = None
    event_type: str | None = None
    rule: str | None = None
    recipient: str | None = None
    application: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


class Place(NamedTuple):
    """Where a page ended: its last delivery."""

    created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    id: uuid.UUID


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
        also: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        """Record what events ask for and store the cursor, in one transaction with `also`."""
        async with acquired(self._pool) as connection, connection.transaction():
            await self.insert(connection, asked, oldest=oldest, message_id_domain=message_id_domain)
            await connection.execute(_SET_CURSOR, cursor.log_epoch, cursor.position)
            if also is not None:
                await also(connection)

    async def insert(
        self,
        connection: Connection,
        asked: Sequence[tuple[Occurrence, Notification]],
        *,
        oldest: datetime,
        message_id_domain: str,
    ) -> None:
        """Record what is asked for, in the caller's transaction.

        What happened before `oldest` is recorded as expired: whoever reads a long history for the
        first time must not send its mails.
        """
        rows = [
            (
                envelope.id,
                envelope.type,
                envelope.position,
                envelope.stream,
                one.rule,
                one.template,
                one.recipient,
                msgspec.json.encode(one.context).decode(),
                message_id_of(envelope.id, one.rule, one.recipient, domain=message_id_domain),
                "due" if envelope.time >= oldest else "expired",
                envelope.correlation_id,
                envelope.traceparent,
            )
            for envelope, one in asked
        ]
        if rows:
            await connection.executemany(_RECORD, rows)

    async def fan_out(
        self, claim: Claim, user_ids: Sequence[str], *, message_id_domain: str
    ) -> None:
        """Record a delivery for each of the people that a claimed one stands for.

        Again, after a crash, it records those that are not there yet.
        """
        row = await self._pool.fetchrow(_OF_WHAT, claim.id)
        if row is not None:
            message_ids = [
                message_id_of(row["event_id"], row["rule"], one, domain=message_id_domain)
                for one in user_ids
            ]
            await self._pool.execute(_FAN_OUT, claim.id, list(user_ids), message_ids)

    async def claim(self, owner: uuid.UUID, lease: timedelta) -> Claim | None:
        """Return what has waited longest, for this owner alone until the lease ends."""
        return _claim(await self._pool.fetchrow(_CLAIM, owner, lease), owner)

    async def held(self, owner: uuid.UUID, lease: timedelta) -> Claim | None:
        """Return what this owner holds already, for another lease: it never heard that it does."""
        return _claim(await self._pool.fetchrow(_HELD, owner, lease), owner)

    async def settle(self, claim: Claim, verdict: Verdict) -> bool:
        """Note how an attempt ended; False when the lease has gone to another sender."""
        return _changed(await self._pool.execute(_SETTLE, *_settled(claim, verdict)))

    async def settle_and_claim(
        self, claim: Claim, verdict: Verdict, lease: timedelta
    ) -> tuple[bool, Claim | None]:
        """Settle and claim what is next, at the price of one of the two."""
        row = await self._pool.fetchrow(_SETTLE_AND_CLAIM, *_settled(claim, verdict), lease)
        if row is None:  # pragma: no cover - a LEFT JOIN has a row
            return False, None
        found = dict(row)
        kept = found.pop("kept")
        return kept, None if found["id"] is None else _claim(found, claim.owner)

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

    async def page(
        self, wanted: Filter, limit: int, *, after: Place | None = None
    ) -> list[dict[str, Any]]:
        """Return deliveries, the newest first, those after a place."""
        rows = await self._pool.fetch(
            _page_statement(wanted, after), *_page_arguments(wanted, after), limit
        )
        return [_row(row) for row in rows]

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

    async def prune(self, keep: timedelta, batch: int) -> int:
        """Remove finished deliveries that are older, a batch at most; return how many.

        0 also while another process does.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            if not await connection.fetchval(_PRUNING_LOCK):
                return 0
            return _count(await connection.execute(_PRUNE, keep, batch))

    async def forget(self, recipient: str) -> int:
        """Send nothing more to a person, and keep no words about them; return what was withheld.

        What is being sent just now ends as it ends; tried again, it finds a disabled user.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            withheld = _count(await connection.execute(_WITHHOLD, recipient))
            await connection.execute(_BLANK, recipient)
            await connection.execute(_BLANK_ADDRESSES, recipient)
        return withheld


def _claim(row: asyncpg.Record | dict[str, Any] | None, owner: uuid.UUID) -> Claim | None:
    if row is None:
        return None
    context = msgspec.json.decode(row["context"], type=dict[str, str])
    return Claim(**{**row, "owner": owner, "context": context})


def _settled(claim: Claim, verdict: Verdict) -> tuple[object, ...]:
    """Return the parameters of _SETTLE."""
    reason = verdict.reason
    return (
        claim.id,
        claim.owner,
        verdict.state,
        # Postgres takes no NUL in text, and a server's words have no limit.
        None if reason is None else reason.replace("\0", "")[:ERROR_LIMIT],
        verdict.pause,
        verdict.maybe_sent,
    )


def _page_arguments(wanted: Filter, after: Place | None) -> list[object]:
    values = [getattr(wanted, one.name) for one in fields(wanted)]
    return [*(one for one in values if one is not None), *(after or ())]


def _page_statement(wanted: Filter, after: Place | None) -> str:
    """Return the statement for the filters that are given: so each is read from its index."""
    given = [one.name for one in fields(wanted) if getattr(wanted, one.name) is not None]
    conditions = [_CONDITIONS[name].format(n) for n, name in enumerate(given, 1)]
    n = len(given) + 1
    if after is not None:
        conditions.append(f"(created_at, id) < (${n}, ${n + 1})")
        n += 2
    where = " AND ".join(conditions) or "true"
    return (
        f"SELECT {_COLUMNS} FROM notifier.deliveries WHERE {where} "  # noqa: S608 - all ours
        f"ORDER BY created_at DESC, id DESC LIMIT ${n}"
    )


def _count(tag: str) -> int:
    """Return how many rows a statement changed, of what Postgres says of it: `UPDATE 3`."""
    return int(tag.rpartition(" ")[2])


def _changed(tag: str) -> bool:
    return _count(tag) == 1


def _row(row: asyncpg.Record) -> dict[str, Any]:
    return {**row, "id": str(row["id"]), "context": msgspec.json.decode(row["context"])}


_CURSOR = "SELECT log_epoch, position FROM notifier.cursor"
_SET_CURSOR = "UPDATE notifier.cursor SET log_epoch = $1, position = $2"

# A repeat is no fault here: the same event asks for the same mail, and the first record stands.
_RECORD = """
INSERT INTO notifier.deliveries (event_id, event_type, position, application_id, rule, template,
                                 recipient, context, message_id, state, finished_at,
                                 correlation_id, traceparent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, CASE WHEN $10 = 'expired' THEN now() END, $11, $12)
ON CONFLICT (event_id, rule, recipient) DO NOTHING
"""

_OF_WHAT = "SELECT event_id, rule FROM notifier.deliveries WHERE id = $1"
_FAN_OUT = """
INSERT INTO notifier.deliveries (event_id, event_type, position, application_id, rule, template,
                                 recipient, context, message_id, state, correlation_id, traceparent)
SELECT event_id, event_type, position, application_id, rule, template,
       person.recipient, context, person.message_id, 'due', correlation_id, traceparent
  FROM notifier.deliveries, unnest($2::text[], $3::text[]) AS person (recipient, message_id)
 WHERE id = $1
ON CONFLICT (event_id, rule, recipient) DO NOTHING
"""

# While it is being sent, `next_attempt_at` is the end of the lease: a lease that ran out is taken
# over like anything else that has become due, and one index serves both. What was being sent by
# somebody who was not heard of again may have arrived.
_NEXT = """
    SELECT id, state = 'sending' AS lost, in_doubt
      FROM notifier.deliveries
     WHERE state IN ('due', 'unknown', 'sending')
       AND next_attempt_at <= now() {but}
     ORDER BY next_attempt_at
     LIMIT 1
       FOR UPDATE SKIP LOCKED
"""
_TAKE = """
UPDATE notifier.deliveries AS delivery
   SET state            = 'sending',
       lease_owner      = {owner},
       lease_until      = now() + {lease}::interval,
       next_attempt_at  = now() + {lease}::interval,
       attempts         = attempts + 1,
       unknown_outcomes = unknown_outcomes + next.lost::integer,
       in_doubt         = next.lost OR next.in_doubt
  FROM next
 WHERE delivery.id = next.id
RETURNING delivery.id, event_id, event_type, template, recipient, context, message_id, attempts,
          now() - due_since AS waited, created_at, delivery.in_doubt AS taken_over,
          correlation_id, traceparent
"""
_CLAIM = f"WITH next AS ({_NEXT.format(but='')}) {_TAKE.format(owner='$1', lease='$2')}"
_HELD = """
UPDATE notifier.deliveries
   SET lease_until     = now() + $2::interval,
       next_attempt_at = now() + $2::interval
 WHERE state = 'sending' AND lease_owner = $1
RETURNING id, event_id, event_type, template, recipient, context, message_id, attempts,
          now() - due_since AS waited, created_at, in_doubt AS taken_over,
          correlation_id, traceparent
"""
_SETTLE = """
UPDATE notifier.deliveries
   SET state            = $3,
       last_error       = $4,
       next_attempt_at  = coalesce(now() + $5::interval, next_attempt_at),
       finished_at      = CASE WHEN $5::interval IS NULL THEN now() END,
       unknown_outcomes = unknown_outcomes + CASE WHEN $6 THEN 1 ELSE 0 END,
       in_doubt         = false,
       lease_owner      = NULL,
       lease_until      = NULL
 WHERE id = $1 AND lease_owner = $2
"""
# Two changes that wait for one disk: half of what a mail costs the database is the commit.
_SETTLE_AND_CLAIM = f"""
WITH settled AS ({_SETTLE} RETURNING id),
     next    AS ({_NEXT.format(but="AND id <> $1")}),
     taken   AS ({_TAKE.format(owner="$2", lease="$7")})
SELECT EXISTS (SELECT FROM settled) AS kept, taken.*
  FROM (SELECT) AS always LEFT JOIN taken ON true
"""  # noqa: S608 - ours
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
id, event_id, event_type, position, rule, template, recipient, application_id, context, message_id,
state, attempts, unknown_outcomes, next_attempt_at, last_error, created_at, finished_at
"""
_CONDITIONS = {
    "state": "state = ${}",
    "event_type": "event_type = ${}",
    "rule": "rule = ${}",
    "recipient": "recipient = ${}",
    "application": "application_id = ${}",
    "created_after": "created_at > ${}",
    "created_before": "created_at < ${}",
}
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
_PRUNING_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('notifier pruning'))"
# By the index on the age: what is not finished after so long is parked, and few.
_PRUNE = """
DELETE FROM notifier.deliveries
 WHERE id IN (SELECT id
                FROM notifier.deliveries
               WHERE created_at < now() - $1::interval
                 AND finished_at < now() - $1::interval
                 AND state IN ('sent', 'suppressed', 'expired', 'discarded', 'expanded')
               ORDER BY created_at
               LIMIT $2
                 FOR UPDATE SKIP LOCKED)
"""
_WITHHOLD = """
UPDATE notifier.deliveries
   SET state = 'suppressed', finished_at = now()
 WHERE recipient = $1 AND state IN ('due', 'unknown', 'parked')
"""
_BLANK = """
UPDATE notifier.deliveries
   SET context    = '{}',
       last_error = CASE WHEN state = 'suppressed' THEN 'the user was erased' END
 WHERE recipient = $1
"""
# From where their applications were used, in what others were told of it.
_BLANK_ADDRESSES = """
UPDATE notifier.deliveries
   SET context = context || '{"address": ""}'
 WHERE event_type = 'FirstUseFromAddress' AND context ->> 'owner' = $1
"""
