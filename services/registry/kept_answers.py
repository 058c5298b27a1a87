"""The records of requests with an `Idempotency-Key`: who works on each, and what was answered.

A record is there before its request is worked on. Whoever has the lease works; when a process dies
its lease ends, and the next retry takes the request up again under the same salt, so with the same
command id. Times are the database's: replicas need not agree on a clock.
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from shared.postgres import Pool
from shared.pruning import prune_forever

# Longer than what any request may take: see WORK_SECONDS in `idempotency.py`.
LEASE = timedelta(seconds=30)
SALT_BYTES = 16
PRUNE_SECONDS = 60.0
PRUNE_ROWS = 500
# A record that another one removes between two looks is rare, and twice in a row unheard of.
LOOKS = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a request. An attempt past the first may find that all is done."""

    id: bytes
    salt: bytes
    attempt: int


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer that was given, sealed."""

    salt: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody works on the request, for so many seconds at most."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The key came with another request."""


class KeptAnswers:
    """The records in Postgres. `keep` is how long a key is remembered."""

    def __init__(self, pool: Pool, *, keep: timedelta) -> None:
        self._pool = pool
        self._keep = keep

    async def claim(self, id_: bytes, fingerprint: bytes) -> Claim | Kept | Busy | Mismatch:
        """Take up a request, or say why it is not to be worked on."""
        for _ in range(LOOKS):
            salt = secrets.token_bytes(SALT_BYTES)
            row = await self._pool.fetchrow(_CLAIM, id_, fingerprint, salt, LEASE, self._keep)
            if row is not None:
                return Claim(id_, row["salt"], row["attempt"])
            found = await self._pool.fetchrow(_LOOK, id_)
            if found is None:
                continue
            if found["fingerprint"] != fingerprint:
                return Mismatch()
            if found["answer"] is not None:
                return Kept(found["salt"], found["answer"])
            return Busy(found["seconds"])
        return Busy(1.0)

    async def keep(self, claim: Claim, sealed: bytes) -> None:
        """Store the answer, unless the claim is another's by now."""
        await self._pool.execute(_KEEP, claim.id, claim.salt, claim.attempt, sealed)

    async def release(self, claim: Claim) -> None:
        """Let the next retry take the request up at once: what became of it is not known."""
        await self._pool.execute(_RELEASE, claim.id, claim.salt, claim.attempt)

    async def forget(self, claim: Claim) -> None:
        """Remove the record of a request that changed nothing."""
        await self._pool.execute(_FORGET, claim.id, claim.salt, claim.attempt)

    async def prune(self) -> int:
        """Remove a batch of records past their end; return how many."""
        return len(await self._pool.fetch(_PRUNE, PRUNE_ROWS))

    async def prune_forever(self) -> None:
        """Remove records past their end, a batch at a time, until cancelled."""
        await prune_forever(
            self.prune, batch=PRUNE_ROWS, seconds=PRUNE_SECONDS, what="idempotency keys"
        )


# One statement decides, so that of two replicas one works: a new key, one past its end, or one
# that nobody works on any more. At its end a record becomes another one, under its own salt.
_CLAIM = """
INSERT INTO registry.idempotency_keys AS k
       (id, fingerprint, salt, attempt, leased_until,   expires_at)
VALUES ($1, $2,          $3,   1,       now() + $4::interval, now() + $5::interval)
    ON CONFLICT (id) DO UPDATE
   SET fingerprint  = excluded.fingerprint,
       salt         = CASE WHEN k.expires_at <= now() THEN excluded.salt ELSE k.salt END,
       attempt      = CASE WHEN k.expires_at <= now() THEN 1 ELSE k.attempt + 1 END,
       leased_until = excluded.leased_until,
       expires_at   = CASE WHEN k.expires_at <= now() THEN excluded.expires_at
                           ELSE k.expires_at END,
       answer       = NULL
 WHERE k.leased_until <= now()
   AND (k.expires_at <= now() OR (k.answer IS NULL AND k.fingerprint = excluded.fingerprint))
RETURNING salt, attempt
"""
_LOOK = """
SELECT fingerprint, salt, answer,
       extract(epoch FROM leased_until - clock_timestamp())::float8 AS seconds
  FROM registry.idempotency_keys
 WHERE id = $1
"""
# Salt and attempt fence off whoever lost the lease meanwhile.
_MINE = "WHERE id = $1 AND salt = $2 AND attempt = $3"
_KEEP = f"UPDATE registry.idempotency_keys SET answer = $4, leased_until = now() {_MINE}"  # noqa: S608
_RELEASE = f"UPDATE registry.idempotency_keys SET leased_until = now() {_MINE}"  # noqa: S608
_FORGET = f"DELETE FROM registry.idempotency_keys {_MINE}"  # noqa: S608
# Every replica prunes: none waits for rows that another one removes.
_PRUNE = """
DELETE FROM registry.idempotency_keys
 WHERE id IN (SELECT id
                FROM registry.idempotency_keys
               WHERE expires_at <= now() AND leased_until <= now()
               ORDER BY expires_at
               LIMIT $1
                 FOR UPDATE SKIP LOCKED)
RETURNING 1
"""
