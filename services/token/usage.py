"""Noting which secrets are used, and reporting it to the registry now and then.

Noted in memory, a line for each secret and day; a token service that dies loses one interval.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import date, datetime
from itertools import islice
from typing import TypeVar

from prometheus_client import Counter

from services.token.addresses import SeenAddresses
from shared.failures import PermanentFailure, TransientFailure
from shared.logs import get_logger
from shared.usage import USES_OF_A_REPORT, Failure, FailureReason, UsageReport, Use

LAST_REPORT_SECONDS = 0.5
REPORTS = Counter("oauthapps_token_usage_reports_total", "Reports of usage", ["outcome"])
DROPPED = Counter("oauthapps_token_usage_dropped_total", "Uses not noted, for want of room")
# Of what, and on which day.
Line = TypeVar("Line", bound=tuple[str, str, date])
Send = Callable[[UsageReport], Awaitable[None]]
log = get_logger(__name__)


class Usage:
    """What was noted and is not reported yet."""

    def __init__(self, send: Send, *, most: int, addresses: bool = False) -> None:
        """Hold at most so many lines: secrets, and reasons of failures, times days.

        And as many addresses, if they are to be noted at all.
        """
        self._send = send
        self._most = most
        self._reporter = str(uuid.uuid4())
        self._sequence = 0
        self._notes: dict[tuple[str, str, date], tuple[int, datetime]] = {}
        self._failures: dict[tuple[str, FailureReason, date], tuple[int, datetime]] = {}
        self._addresses = SeenAddresses(most=most) if addresses else None
        # A report that was sent and not answered: the registry may have it, so it stays as it is.
        self._under_way: UsageReport | None = None

    def note(self, application_id: str, secret_id: str, address: str, now: datetime) -> None:
        """Note that a secret obtained a token, asked for from an address; `now` is in UTC."""
        self._count(self._notes, (application_id, secret_id, now.date()), now)
        if self._addresses is not None:
            self._addresses.note(application_id, address, now)

    def note_failure(self, application_id: str, reason: FailureReason, now: datetime) -> None:
        """Note that a request in an application's name was refused; `now` is in UTC."""
        self._count(self._failures, (application_id, reason, now.date()), now)

    def _count(self, lines: dict[Line, tuple[int, datetime]], line: Line, now: datetime) -> None:
        count, last = lines.get(line, (0, now))
        if count or len(self._notes) + len(self._failures) < self._most:
            lines[line] = (count + 1, max(last, now))
        else:
            DROPPED.inc()

    async def report(self) -> None:
        """Report everything noted up to now. Raises TransientFailure; nothing is lost then.

        What the registry will never take is given up: it must not stand before all that comes.
        """
        while True:
            if self._under_way is None:
                self._under_way = self._next()
            if self._under_way is None:
                return
            try:
                await self._send(self._under_way)
                REPORTS.labels("accepted").inc()
            except PermanentFailure as failure:
                REPORTS.labels("refused").inc()
                log.warning("a report of usage was given up", reason=str(failure))
            self._under_way = None

    async def report_forever(self, seconds: float) -> None:
        """Report every so many seconds until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(seconds)
                try:
                    await self.report()
                except TransientFailure as failure:
                    REPORTS.labels("failed").inc()
                    log.info("usage not reported, will be later", reason=str(failure))
        finally:
            await self._report_last()

    async def _report_last(self) -> None:
        try:
            async with asyncio.timeout(LAST_REPORT_SECONDS):
                await self.report()
        except (TransientFailure, TimeoutError):
            log.info("the last usage was not reported")

    def _next(self) -> UsageReport | None:
        keys = list(islice(self._notes, USES_OF_A_REPORT))
        failures = self._next_failures()
        seen = [] if self._addresses is None else self._addresses.take(USES_OF_A_REPORT)
        if not (keys or failures or seen):
            return None
        self._sequence += 1
        uses = []
        for key in keys:
            application_id, secret_id, day = key
            count, last = self._notes.pop(key)
            uses.append(
                Use(
                    application_id=application_id,
                    secret_id=secret_id,
                    day=day,
                    count=count,
                    last_used_at=last,
                )
            )
        return UsageReport(
            reporter=self._reporter,
            sequence=self._sequence,
            uses=uses,
            failures=failures,
            addresses=seen,
        )

    def _next_failures(self) -> list[Failure]:
        failures = []
        for key in list(islice(self._failures, USES_OF_A_REPORT)):
            application_id, reason, day = key
            count, last = self._failures.pop(key)
            failures.append(
                Failure(
                    application_id=application_id,
                    reason=reason,
                    day=day,
                    count=count,
                    last_at=last,
                )
            )
        return failures
