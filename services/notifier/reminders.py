"""Warnings of what expires, recorded as deliveries when their moment has come.

Only while the log has been read to its head: before, a secret might be warned of that was rotated
long ago. Two processes that do it at once claim different rows, and a warning has one identifier,
so it is recorded once in any case.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from services.notifier.deliveries import Deliveries
from services.notifier.domain import Rule, notifications_for
from services.notifier.expiries import BATCH, Expiries
from services.notifier.expiry import days_asked_for, due_days, warnings_for
from shared.postgres import Pool, acquired

LOOK_SECONDS = 10.0


class Reminders:
    """Looks now and then for what to warn of."""

    def __init__(
        self,
        pool: Pool,
        deliveries: Deliveries,
        expiries: Expiries,
        rules: Callable[[], Sequence[Rule]],
        *,
        max_event_age: timedelta,
        message_id_domain: str,
    ) -> None:
        self._pool = pool
        self._deliveries = deliveries
        self._expiries = expiries
        self._rules = rules
        self._max_event_age = max_event_age
        self._message_id_domain = message_id_domain
        self._looked_at = -float("inf")

    async def look(self, now: datetime) -> int:
        """Warn of what is due, if the last look is a while ago; return the number of mails."""
        clock = asyncio.get_running_loop().time()
        if clock - self._looked_at < LOOK_SECONDS:
            return 0
        self._looked_at = clock
        return await self.remind(now)

    async def remind(self, now: datetime) -> int:
        """Warn of everything that is due; return the number of mails."""
        rules = self._rules()
        days = days_asked_for(rules)
        count = 0
        while days:
            found, recorded = await self._remind_some(rules, days, now)
            count += recorded
            if found < BATCH:
                break
        await self._expiries.remove_past(now)
        return count

    async def _remind_some(
        self, rules: Sequence[Rule], days: Sequence[int], now: datetime
    ) -> tuple[int, int]:
        async with acquired(self._pool) as connection, connection.transaction():
            due = await self._expiries.claim_due(connection, days, now)
            asked = [
                (occurrence, notification)
                for one in due
                for occurrence, rule in warnings_for(one, rules, now)
                for notification in notifications_for(occurrence, [rule])
            ]
            await self._deliveries.insert(
                connection,
                asked,
                # One that was missed for so long is recorded, and not sent.
                oldest=now - self._max_event_age,
                message_id_domain=self._message_id_domain,
            )
            told = [(one.id, min(due_days(one, days, now))) for one in due]
            await self._expiries.tell(connection, told)
        return len(due), len(asked)
