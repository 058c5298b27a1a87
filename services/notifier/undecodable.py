"""Events that could not be decoded, in Postgres: kept until a version comes that can."""

from typing import Any

from services.notifier.deliveries import ERROR_LIMIT
from shared.envelope import Undecodable
from shared.postgres import Connection, Pool
from shared.subscription import Cursor


class UndecodableEvents:
    """The table: where they stand in the log and why they were not read; nothing they say."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def park(self, connection: Connection, event: Undecodable, cursor: Cursor) -> bool:
        """Keep an event, in the caller's transaction; False: it was there already."""
        tag = await connection.execute(
            _PARK,
            cursor.log_epoch,
            event.position,
            _text(event.id),
            _text(event.type),
            _text(event.stream),
            event.time,
            _text(event.reason),
        )
        return tag == "INSERT 0 1"

    async def positions(self, log_epoch: str | None) -> list[int]:
        """Return where they stand in a history, in order."""
        return [row["position"] for row in await self._pool.fetch(_POSITIONS, log_epoch)]

    async def remove(self, connection: Connection, cursor: Cursor) -> None:
        """Forget the one at a place, in the caller's transaction: it has been read."""
        await connection.execute(_REMOVE, cursor.log_epoch, cursor.position)

    async def start_over(self, log_epoch: str) -> None:
        """Forget those of other histories."""
        await self._pool.execute(_FORGET_OTHERS, log_epoch)

    async def all(self) -> list[dict[str, Any]]:
        """Return all of them, by position."""
        return [dict(row) for row in await self._pool.fetch(_ALL)]

    async def count(self) -> int:
        """Return how many there are."""
        number: int = await self._pool.fetchval("SELECT count(*) FROM notifier.undecodable_events")
        return number


def _text(value: str | None) -> str | None:
    # Postgres takes no NUL in text, and nothing here has a limit of its own.
    return None if value is None else value.replace("\0", "")[:ERROR_LIMIT]


_PARK = """
INSERT INTO notifier.undecodable_events (log_epoch, position, event_id, event_type, application_id,
                                         occurred_at, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (log_epoch, position) DO NOTHING
"""
_POSITIONS = """
SELECT position FROM notifier.undecodable_events WHERE log_epoch = $1 ORDER BY position
"""
_REMOVE = "DELETE FROM notifier.undecodable_events WHERE log_epoch = $1 AND position = $2"
_FORGET_OTHERS = "DELETE FROM notifier.undecodable_events WHERE log_epoch <> $1"
_ALL = """
SELECT position, event_type, event_id, application_id, occurred_at, parked_at, reason
  FROM notifier.undecodable_events
 ORDER BY position
"""
