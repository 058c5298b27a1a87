"""Whether a service can work with its database: what `/readyz` says of it, and the log, once."""

import asyncio

from shared import clock_check
from shared.clock_check import ClockCheck
from shared.database_words import reason_of
from shared.health import NotReady, examine
from shared.logs import get_logger
from shared.postgres import (
    POSTGRES_ERRORS,
    DatabaseError,
    Migration,
    Pool,
    require_migrated,
    require_rights,
)
from shared.recurring import Recurring

WATCH_SECONDS = 2.0
log = get_logger(__name__)
_CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"


class DatabaseCheck:
    """The check of one schema: reached, migrated, and ours to read and write."""

    def __init__(self, pool: Pool, schema: str, steps: list[Migration]) -> None:
        self._pool = pool
        self._schema = schema
        self._steps = steps
        self._at: int | None = None
        self.clock = ClockCheck("Postgres")

    async def __call__(self) -> None:
        """Return when all is well. Raises NotReady with the reason and the remedy."""
        try:
            at = await require_migrated(self._pool, self._schema, self._steps)
            await require_rights(self._pool, self._schema)
            asked_at = clock_check.wall()
            self.clock.compare(await self._pool.fetchval(_CLOCK), asked_at=asked_at)
        except DatabaseError as error:
            raise NotReady(str(error)) from None
        except POSTGRES_ERRORS as error:
            raise NotReady(reason_of(error)) from None
        if at > len(self._steps) and at != self._at:
            log.warning("schema is newer", schema=self._schema, at=at, known=len(self._steps))
        self._at = at

    async def watch(self) -> None:
        """Say in the log when it cannot be worked with, and when it can again, until cancelled."""
        trouble = Recurring(log, "database cannot be used", over="database can be used again")
        while True:
            said = (await examine({"database": self})).checks["database"]
            if said == "ok":
                trouble.over()
            else:
                trouble.say(said, schema=self._schema)
            await asyncio.sleep(WATCH_SECONDS)
