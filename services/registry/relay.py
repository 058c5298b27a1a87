"""The relay: publishes the log to RabbitMQ, in order, and remembers how far it is confirmed.

One leader among all registry processes, by a session lock on a connection of its own. Its whole
state is one cursor row that only ever moves over the contiguous confirmed prefix, so a crash
repeats messages and never skips one.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol

from prometheus_client import Counter

from services.registry.event_store import CHANNEL
from services.registry.feed import Feed
from shared.database_words import reason_of
from shared.envelope import Envelope
from shared.failures import TransientFailure
from shared.logs import get_logger
from shared.metrics import summed_gauge
from shared.postgres import TRANSIENT_ERRORS, Connection, Url, connect
from shared.recurring import Recurring
from shared.tracing import OFF, Tracing

LEADER_LOCK = "registry relay"
PAGE_SIZE = 500
# Between tries to become leader, and between looks for events that no wake-up announced.
POLL_SECONDS = 1.0
RETRY_FIRST_SECONDS = 0.2
RETRY_LONGEST_SECONDS = 10.0
# Longer than one that fails keeps the lead: another that has it for so long does well.
LED_SECONDS = 30.0
log = get_logger(__name__)

PUBLISHED = Counter("oauthapps_registry_relay_published_total", "Events confirmed by the broker")
LEADER = summed_gauge("oauthapps_registry_relay_leader", "1 in the process whose relay leads")


class Publisher(Protocol):
    """The bus, as the relay needs it."""

    def look(self) -> None:
        """Return when the bus is there as far as is known. Raises TransientFailure."""

    async def publish(self, envelope: Envelope, log_epoch: str) -> None:
        """Return once the broker has confirmed. Raises TransientFailure."""


OpenPublisher = Callable[[], AbstractAsyncContextManager[Publisher]]


class Relay:
    """Competes for the lead, and publishes while it has it."""

    def __init__(
        self,
        dsn: Url,
        feed: Feed,
        open_publisher: OpenPublisher,
        *,
        window: int,
        tracing: Tracing = OFF,
    ) -> None:
        self._dsn = dsn
        self._feed = feed
        self._open_publisher = open_publisher
        self._window = window
        self._tracing = tracing
        self._appended = asyncio.Event()
        # Published something since the last interruption: then the back-off begins anew.
        self._worked = False
        self._interrupted = Recurring(log, "relay interrupted", over="relay goes on")
        self.trouble: str | None = None

    async def run(self) -> None:
        """Publish whenever this process leads, until cancelled; back off while it fails."""
        pause = RETRY_FIRST_SECONDS
        while True:
            try:
                connection = await connect(self._dsn)
                try:
                    await self._lead(connection)
                finally:
                    LEADER.set(0)
                    # Ends the session, and with it the lock, whatever state it is in.
                    connection.terminate()
            except (TransientFailure, *TRANSIENT_ERRORS) as failure:
                is_of_bus = isinstance(failure, TransientFailure)
                self.trouble = str(failure) if is_of_bus else reason_of(failure)
                self._interrupted.say(self.trouble)
            except Exception as error:
                reason = f"unexpected {type(error).__name__}; see the log"
                if reason != self.trouble:
                    log.exception("relay failed")
                self.trouble = reason
            if self._worked:
                self._worked, pause = False, RETRY_FIRST_SECONDS
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
            pause = min(pause * 2, RETRY_LONGEST_SECONDS)

    async def _lead(self, connection: Connection) -> None:
        await connection.add_listener(CHANNEL, lambda *_: self._appended.set())
        loop = asyncio.get_running_loop()
        begun = loop.time()
        # Tried again and again, not waited for: a statement that blocks would run into its timeout.
        while not await connection.fetchval(_TRY_LOCK, LEADER_LOCK):
            if loop.time() - begun > LED_SECONDS:
                self._note_well()
            await asyncio.sleep(POLL_SECONDS)
        async with self._open_publisher() as publisher:
            LEADER.set(1)
            log.info("relay leads")
            while True:
                # Where nothing happens nothing is published, and nothing fails.
                publisher.look()
                await self._publish_page(connection, publisher)
                self._note_well()

    def _note_well(self) -> None:
        self.trouble = None
        self._interrupted.over()

    async def _publish_page(self, connection: Connection, publisher: Publisher) -> None:
        """Publish what stands after the cursor; wait for more if there is nothing."""
        self._appended.clear()
        cursor = await connection.fetchrow(_CURSOR)
        assert cursor is not None  # noqa: S101 - the first migration made the row
        page = await self._feed.page(cursor["position"], PAGE_SIZE, 0)
        if page.log_epoch != cursor["epoch"]:
            # A restored database, a new history: subscribers start over, and so does the relay.
            await connection.execute(_START_OVER, page.log_epoch)
            return
        if page.envelopes:
            await self._publish_run(connection, publisher, page.log_epoch, page.envelopes)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._appended.wait()

    async def _publish_run(
        self, connection: Connection, publisher: Publisher, log_epoch: str, run: list[Envelope]
    ) -> None:
        """Keep a window of unconfirmed messages; move the cursor over the confirmed prefix."""
        unconfirmed: deque[tuple[int, asyncio.Task[None]]] = deque()
        confirmed = 0
        try:
            for envelope in run:
                if len(unconfirmed) >= self._window:
                    position, oldest = unconfirmed.popleft()
                    await oldest
                    confirmed = position
                task = asyncio.create_task(self._publish(publisher, envelope, log_epoch))
                unconfirmed.append((envelope.position, task))
            while unconfirmed:
                position, oldest = unconfirmed.popleft()
                await oldest
                confirmed = position
        finally:
            for _, task in unconfirmed:
                task.cancel()
            await asyncio.gather(*(task for _, task in unconfirmed), return_exceptions=True)
            if confirmed:
                await connection.execute(_MOVE, confirmed, log_epoch)
                PUBLISHED.inc(confirmed - run[0].position + 1)
                self._worked = True

    async def _publish(self, publisher: Publisher, envelope: Envelope, log_epoch: str) -> None:
        with self._tracing.each("publish", [envelope], "producer"):
            await publisher.publish(envelope, log_epoch)
            log.debug("event published", **envelope.ids)


_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtext($1))"
_CURSOR = "SELECT epoch::text AS epoch, position FROM registry.relay_cursor"
# Forward only: a leader that lost its session without noticing must not move it back.
_MOVE = "UPDATE registry.relay_cursor SET position = $1 WHERE position < $1 AND epoch = $2::uuid"
_START_OVER = "UPDATE registry.relay_cursor SET epoch = $1::uuid, position = 0"
