"""The projector: keeps the projection up with the log; one among all workers of a host."""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Sequence
from pathlib import Path

from prometheus_client import Counter

from services.token.projection import Projection
from services.token.trouble import Trouble
from shared.bus import follow
from shared.envelope import Envelope
from shared.feed_client import FeedClient
from shared.logs import debug_each, get_logger
from shared.recurring import Recurring
from shared.secret_source import Secret
from shared.sections import Subscription as SubscriptionSettings
from shared.subscription import Cursor, Inbox, Subscription
from shared.tracing import OFF, Tracing
from shared.web import background

# A projector that dies is replaced after this time at most.
ELECTION_SECONDS = 0.5
# What troubles the subscription is told by `/readyz` after this time at most.
TROUBLE_SECONDS = 0.5
QUEUE_PREFIX = "oauthapps.token"
LOCK = "projector.lock"
log = get_logger(__name__)

APPLIED = Counter("oauthapps_token_events_applied_total", "Events applied by this process")


class ProjectionSubscriber:
    """The projection as a subscriber of the log."""

    def __init__(self, projection: Projection, feed: FeedClient, tracing: Tracing = OFF) -> None:
        self._projection = projection
        self._feed = feed
        self._tracing = tracing

    async def load_cursor(self) -> Cursor:
        """Return the stored cursor, of a store that may have to be opened again."""
        await self._projection.open_when_possible()
        return self._projection.cursor()

    async def start_over(self, log_epoch: str) -> Cursor:
        """Take the registry's snapshot in place of another history, or of nothing."""
        async with self._feed.snapshot() as (head, records):
            await self._projection.replace_all(head, records)
        log.info("projection filled", log_epoch=log_epoch, position=head.position)
        return Cursor(head.log_epoch, head.position)

    async def apply(self, envelopes: Sequence[Envelope], cursor: Cursor) -> None:
        """Apply consecutive events."""
        with self._tracing.each("apply", envelopes, "consumer"):
            await self._projection.apply(envelopes, cursor)
            debug_each(log, "event applied", envelopes)
        APPLIED.inc(len(envelopes))

    async def confirm(self, cursor: Cursor) -> None:
        """Note that the projection is fresh."""
        await self._projection.confirm(cursor)


class Projector:
    """Competes for the lock of the store, and follows the log while it has it."""

    def __init__(
        self,
        folder: Path,
        projection: Projection,
        feed: FeedClient,
        settings: SubscriptionSettings,
        *,
        bus: Secret | None = None,
        tracing: Tracing = OFF,
    ) -> None:
        self._lock = folder / LOCK
        self.trouble = Trouble(folder)
        self.bus_trouble = Trouble(folder, "bus-trouble")
        self.clock_trouble = Trouble(folder, "clock-trouble")
        self._projection = projection
        self._feed = feed
        self._settings = settings
        self._bus = bus
        self._tracing = tracing

    async def run(self) -> None:
        """Wait to be elected, then follow the log, until cancelled."""
        await self._projection.open_when_possible()
        descriptor = await _elected(self._lock)
        try:
            log.info("this process keeps the projection up to date")
            await self._follow()
        finally:
            # The lock goes with the descriptor, also when the process is killed.
            os.close(descriptor)

    async def _follow(self) -> None:
        subscriber = ProjectionSubscriber(self._projection, self._feed, self._tracing)
        inbox = None if self._bus is None else Inbox()
        # Nothing is parked here: what cannot be decoded may be a deactivation.
        subscription = Subscription(subscriber, self._feed, self._settings, inbox=inbox)
        jobs: list[Awaitable[None]] = [self._note_troubles(subscription, inbox)]
        if self._bus is not None and inbox is not None:
            jobs.append(follow(self._bus, QUEUE_PREFIX, inbox, service="token"))
        async with background(*jobs):
            await subscription.run()

    async def _note_troubles(self, subscription: Subscription, inbox: Inbox | None) -> None:
        while True:
            self.trouble.note(subscription.trouble)
            self.bus_trouble.note(None if inbox is None else inbox.trouble)
            self.clock_trouble.note(self._feed.clock.trouble)
            await asyncio.sleep(TROUBLE_SECONDS)


async def _elected(lock: Path) -> int:
    failing = Recurring(log, "projector cannot be elected", over="projector can be elected again")
    while True:
        try:
            descriptor = _locked(lock)
        except OSError as error:
            failing.say(f"{lock}: {error.strerror}")
        else:
            failing.over()
            if descriptor is not None:
                return descriptor
        await asyncio.sleep(ELECTION_SECONDS)


def _locked(lock: Path) -> int | None:
    """Return what holds the lock, None while another process does. Raises OSError."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor
