"""Sessions: who is logged in, kept in Postgres under the hash of what the cookie holds."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import timedelta

from shared.postgres import Pool
from shared.pruning import prune_forever

TOKEN_BYTES = 32
PRUNE_SECONDS = 600.0
PRUNE_ROWS = 1000
# The time of the last visit is written down no more often.
SEEN_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One login. `token` is what the cookie holds, and is known to nobody else."""

    token: str = field(repr=False)
    user_id: str
    organization_id: str | None
    notice: str | None


class Sessions:
    """The sessions in Postgres. They end unused after `idle`, and in any case after `longest`."""

    def __init__(self, pool: Pool, *, idle: timedelta, longest: timedelta) -> None:
        self._pool = pool
        self._idle = idle
        self._longest = longest

    async def begin(self, user_id: str) -> str:
        """Begin a session and return its token: always a new one, whatever the browser sent."""
        token = new_token()
        await self._pool.execute(_BEGIN, _id(token), user_id)
        return token

    async def find(self, token: str) -> Session | None:
        """Return the session of a token, or None when it has ended."""
        row = await self._pool.fetchrow(_FIND, _id(token), self._idle, self._longest)
        if row is None:
            return None
        if row["is_due"]:
            await self._pool.execute(_SEEN, _id(token))
        return Session(
            token=token,
            user_id=str(row["user_id"]),
            organization_id=None if row["organization_id"] is None else str(row["organization_id"]),
            notice=row["notice"],
        )

    async def move_to(self, session: Session, organization_id: str) -> None:
        """Let the user be at work in another organization."""
        await self._pool.execute(_MOVE, _id(session.token), organization_id)

    async def tell(self, session: Session, notice: str | None) -> None:
        """Keep a sentence for the next page, or forget it."""
        await self._pool.execute(_TELL, _id(session.token), notice)

    async def end(self, token: str) -> None:
        """End one session."""
        await self._pool.execute(_END, _id(token))

    async def end_all(self, user_id: str) -> None:
        """End all sessions of a user."""
        await self._pool.execute(_END_ALL, user_id)

    async def prune(self) -> int:
        """Remove a batch of those that have ended; return how many."""
        rows = await self._pool.fetch(_PRUNE, self._idle, self._longest, PRUNE_ROWS)
        return len(rows)

    async def prune_forever(self) -> None:
        """Remove those that have ended, until cancelled."""
        await prune_forever(self.prune, batch=PRUNE_ROWS, seconds=PRUNE_SECONDS, what="sessions")


def new_token() -> str:
    """Return what nobody can guess."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def proof_of(token: str, purpose: str) -> str:
    """Return what only a page that was made for the holder of this token can have in it."""
    return hmac.new(token.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def is_proof(token: str, purpose: str, presented: str) -> bool:
    """Tell, in time that does not depend on the answer, whether a page's proof is right."""
    return hmac.compare_digest(proof_of(token, purpose).encode(), presented.encode())


def _id(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


_BEGIN = "INSERT INTO registry.sessions (id, user_id) VALUES ($1, $2)"
_FIND = f"""
SELECT user_id, organization_id, notice,
       seen_at < now() - interval '{SEEN_SECONDS} s' AS is_due
  FROM registry.sessions
 WHERE id = $1 AND seen_at > now() - $2::interval AND created_at > now() - $3::interval
"""  # noqa: S608 - a constant of ours
_SEEN = "UPDATE registry.sessions SET seen_at = now() WHERE id = $1"
_MOVE = "UPDATE registry.sessions SET organization_id = $2 WHERE id = $1"
_TELL = "UPDATE registry.sessions SET notice = $2 WHERE id = $1"
_END = "DELETE FROM registry.sessions WHERE id = $1"
_END_ALL = "DELETE FROM registry.sessions WHERE user_id = $1"
_PRUNE = """
DELETE FROM registry.sessions
 WHERE id IN (SELECT id FROM registry.sessions
               WHERE seen_at <= now() - $1::interval OR created_at <= now() - $2::interval
               LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING 1
"""
