"""Tokens obtained from new addresses, as the registry lists them, recorded as deliveries.

Asked for only while a rule is about them. Every process asks; the cursor moves on from where it was
read, in the transaction that records the deliveries, so one process records what several have read.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from services.notifier.deliveries import Deliveries
from services.notifier.domain import FirstUseFromAddress, Occurrence, Rule, notifications_for
from shared.database_words import reason_of
from shared.failures import TransientFailure
from shared.logs import get_logger
from shared.postgres import POSTGRES_ERRORS, Pool, acquired
from shared.subscription import BEGINNING, Cursor
from shared.usage import FirstUse
from shared.usage import FirstUses as Listed

LOOK_SECONDS = 5.0
log = get_logger(__name__)


class Registry(Protocol):
    """Who keeps the list."""

    async def first_uses(self, after: int) -> Listed:
        """Return the first uses after a number. Raises TransientFailure."""


class FirstUses:
    """Looks now and then for what is new in the list."""

    def __init__(
        self,
        pool: Pool,
        deliveries: Deliveries,
        registry: Registry,
        rules: Callable[[], Sequence[Rule]],
        *,
        max_event_age: timedelta,
        message_id_domain: str,
        on_recorded: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._deliveries = deliveries
        self._registry = registry
        self._rules = rules
        self._max_event_age = max_event_age
        self._message_id_domain = message_id_domain
        self._on_recorded = on_recorded

    async def watch(self) -> None:
        """Look every few seconds, until cancelled."""
        said = ""
        while True:
            reason = ""
            try:
                if await self.look():
                    self._on_recorded()
            except TransientFailure as failure:
                reason = str(failure)
            except POSTGRES_ERRORS as error:
                reason = reason_of(error)
            if reason and reason != said:
                log.info("first uses not read, will be later", reason=reason)
            said = reason
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> int:
        """Record what is new, if a rule is about it; return the number of mails."""
        count = 0
        while any(one.enabled and one.about is FirstUseFromAddress for one in self._rules()):
            cursor = await self._cursor()
            listed = await self._registry.first_uses(cursor.position)
            if listed.log_epoch != cursor.log_epoch and cursor.position:
                # Another history has numbers of its own; what was told before is told once.
                listed = await self._registry.first_uses(0)
            if not listed.items:
                break
            count += await self._record(listed, cursor)
        return count

    async def _cursor(self) -> Cursor:
        row = await self._pool.fetchrow(_CURSOR)
        return BEGINNING if row is None else Cursor(row["log_epoch"], row["position"])

    async def _record(self, listed: Listed, since: Cursor) -> int:
        rules = self._rules()
        asked = [
            (one, notification)
            for one in map(_occurrence, listed.items)
            for notification in notifications_for(one, rules)
        ]
        async with acquired(self._pool) as connection, connection.transaction():
            moved = await connection.execute(
                _MOVE, since.log_epoch, since.position, listed.log_epoch, listed.items[-1].number
            )
            if moved != "UPDATE 1":
                # Another process was faster.
                return 0
            await self._deliveries.insert(
                connection,
                asked,
                oldest=datetime.now(UTC) - self._max_event_age,
                message_id_domain=self._message_id_domain,
            )
        return len(asked)


def _occurrence(one: FirstUse) -> Occurrence:
    return Occurrence(
        id=one.id,
        type=FirstUseFromAddress.__name__,
        position=0,
        stream=one.application_id,
        time=one.seen_at,
        actor="",
        fact=FirstUseFromAddress(
            application_id=one.application_id,
            client_id=one.client_id,
            organization_id=one.organization_id,
            owner_id=one.owner_id,
            name=one.name,
            address=one.address,
        ),
    )


_CURSOR = "SELECT log_epoch, position FROM notifier.first_use_cursor"
_MOVE = """
UPDATE notifier.first_use_cursor
   SET log_epoch = $3, position = $4
 WHERE log_epoch IS NOT DISTINCT FROM $1 AND position = $2
"""
