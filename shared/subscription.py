"""The one way in which a service of ours follows the log.

A subscriber owns a cursor that it stores in the same transaction as what it derives. The bus
brings events soon, the feed brings them surely: an envelope at or below the cursor is dropped, the
next one is applied, a gap is filled from the feed. So a lost, repeated, reordered or delayed
message costs time, never truth. Without a bus, or while it is down, the feed is long-polled.

An event that cannot be decoded may be the one that matters: a subscription stops before it, says
so, and tries again, unless its subscriber has a place to park such events.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from shared.envelope import Entry, Envelope, Page, Undecodable, UndecodableEvent
from shared.failures import TransientFailure
from shared.logs import get_logger
from shared.recurring import Recurring
from shared.sections import Subscription as Settings

INBOX_CAPACITY = 10_000
# How long an answer may be under way and still tell where the head of the log is.
BELIEVED_SECONDS = 15.0
# A subscription that stands still before an event says so this often.
SAY_AGAIN_SECONDS = 60.0
# Between tries, however much the bus brings.
LEAST_REST_SECONDS = 0.1
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a subscriber has come, and in which history. No epoch: it has read nothing yet."""

    log_epoch: str | None
    position: int


BEGINNING = Cursor(None, 0)
# Keeps what cannot be decoded for later, and stores the cursor, in one transaction.
Park = Callable[[Undecodable, Cursor], Awaitable[None]]


class Subscriber(Protocol):
    """What a subscription keeps up to date. Raises TransientFailure when it cannot just now."""

    async def load_cursor(self) -> Cursor:
        """Return the stored cursor, BEGINNING if there is none."""

    async def start_over(self, log_epoch: str) -> Cursor:
        """Forget the other history, and return where to begin in this one."""

    async def apply(self, envelopes: Sequence[Envelope], cursor: Cursor) -> None:
        """Derive from consecutive envelopes and store the cursor, in one transaction."""

    async def confirm(self, cursor: Cursor) -> None:
        """Learn that the cursor was at the head of the log a moment ago."""


class Feed(Protocol):
    """Where the truth is read."""

    async def read(self, after: int, *, wait: float = 0.0) -> Page:
        """Return the events after a position; wait so many seconds when there are none."""


class Verdict(Enum):
    """What an arriving envelope means to a cursor."""

    REPEATED = auto()
    NEXT = auto()
    GAP = auto()


def judge(cursor: Cursor, log_epoch: str, position: int) -> Verdict:
    """Tell what to do with an envelope. Another history is a gap: the feed knows which is true."""
    if log_epoch != cursor.log_epoch:
        return Verdict.GAP
    if position <= cursor.position:
        return Verdict.REPEATED
    return Verdict.NEXT if position == cursor.position + 1 else Verdict.GAP


class Inbox:
    """Between the bus and the subscription: bounded, since what it drops the feed still has."""

    def __init__(self, capacity: int = INBOX_CAPACITY) -> None:
        self._arrived: deque[tuple[str, Entry]] = deque(maxlen=capacity)
        self._wake = asyncio.Event()
        self.connected = False
        # Why not, once that is known.
        self.trouble: str | None = None

    def put(self, log_epoch: str, entry: Entry) -> None:
        """Take what the bus brought."""
        self._arrived.append((log_epoch, entry))
        self._wake.set()

    def waiting(self) -> int:
        """Return how many have arrived that nobody took yet."""
        return len(self._arrived)

    def set_connected(self, connected: bool) -> None:  # noqa: FBT001 - reads as a sentence
        """Note that the bus delivers, or no longer does."""
        self.connected = connected
        self._wake.set()

    async def wait(self, seconds: float) -> None:
        """Return when something has arrived, the bus came or went, or time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def take(self, seconds: float) -> list[tuple[str, Entry]]:
        """Return what has arrived, by position; an empty list when time is up or the bus went."""
        if not self._arrived:
            await self.wait(seconds)
        self._wake.clear()
        taken = sorted(self._arrived, key=lambda one: one[1].position)
        self._arrived.clear()
        return taken


class Subscription:
    """Follows the log on behalf of one subscriber.

    With `park` it goes on behind an event that cannot be decoded; without, it stops before it.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        feed: Feed,
        settings: Settings,
        *,
        inbox: Inbox | None = None,
        park: Park | None = None,
    ) -> None:
        self._subscriber = subscriber
        self._feed = feed
        self._settings = settings
        self._inbox = inbox
        self._park = park
        self._cursor = BEGINNING
        self._confirmed_at = -float("inf")
        self._said_at = -float("inf")
        self._interrupted = Recurring(log, "subscription interrupted", over=None)
        self.trouble: str | None = None

    @property
    def cursor(self) -> Cursor:
        """How far the subscriber has come."""
        return self._cursor

    async def run(self) -> None:
        """Follow the log until cancelled; whatever fails is logged and tried again, later."""
        pause = self._settings.retry_first.total_seconds()
        while True:
            try:
                # From the store, not from memory: what failed may have been stored or not.
                self._cursor = await self._subscriber.load_cursor()
                if self._inbox is not None:
                    # What the bus has brought does not wait for a feed that may be out of reach.
                    await self.receive(await self._inbox.take(0))
                await self.catch_up()
                pause = self._settings.retry_first.total_seconds()
                while True:
                    await self._step()
            except TransientFailure as failure:
                self._interrupted.say(str(failure))
                self.trouble = str(failure)
            except UndecodableEvent as failure:
                # It does not pass by itself: whoever looks at the log later must find it, too.
                if self.trouble != str(failure) or _now() - self._said_at > SAY_AGAIN_SECONDS:
                    log.warning("subscription stands still", reason=str(failure))
                    self._said_at = _now()
                self.trouble = str(failure)
            except Exception as error:
                reason = f"unexpected {type(error).__name__}; see the log"
                if self.trouble != reason:
                    log.exception("subscription failed")
                self.trouble = reason
            # Jitter: replicas that lost the registry together do not return together.
            await self._rest(pause * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret
            pause = min(pause * 2, self._settings.retry_longest.total_seconds())

    async def _rest(self, seconds: float) -> None:
        """Wait before the next try; less where the bus brings something: the registry is back."""
        least = min(seconds, LEAST_REST_SECONDS)
        await asyncio.sleep(least)
        if self._inbox is None:
            await asyncio.sleep(seconds - least)
        else:
            await self._inbox.wait(seconds - least)

    async def _step(self) -> None:
        """Take what comes next: from the bus while it delivers, else by a long poll."""
        if self._inbox is None or not self._inbox.connected:
            await self.catch_up(wait=self._settings.long_poll.total_seconds())
            return
        head_check = self._settings.head_check.total_seconds()
        arrived = await self._inbox.take(head_check)
        if arrived:
            await self.receive(arrived)
        if not arrived or _now() - self._confirmed_at > head_check:
            # A lost message with no successor shows in no gap; only the feed's head tells.
            await self.catch_up()

    async def receive(self, arrived: Sequence[tuple[str, Entry]]) -> None:
        """Apply the run of next envelopes among those that arrived; fill gaps from the feed."""
        run: list[Envelope] = []
        cursor = self._cursor
        for log_epoch, entry in arrived:
            verdict = judge(cursor, log_epoch, entry.position)
            if verdict is Verdict.REPEATED:
                continue
            if verdict is Verdict.NEXT and isinstance(entry, Envelope):
                run.append(entry)
                cursor = Cursor(log_epoch, entry.position)
                continue
            # A message that cannot be decoded is a gap, too: only the feed tells whether it is the
            # event, or was damaged under way.
            await self._apply(run)
            run = []
            await self.catch_up()
            cursor = self._cursor
        await self._apply(run)

    async def catch_up(self, *, wait: float = 0.0) -> None:
        """Page the feed up to its head; at the head already, wait so many seconds for more."""
        asked_at = _now()
        page = await self._feed.read(self._cursor.position, wait=wait)
        while True:
            if self._is_of_another_history(page):
                if self._cursor != BEGINNING:
                    log.warning("another history: starting over", log_epoch=page.log_epoch)
                self._cursor = await self._subscriber.start_over(page.log_epoch)
                asked_at = _now()
                page = await self._feed.read(self._cursor.position)
                continue
            last = self._check_run(page)
            if last >= page.head:
                await self._apply(page.entries)
                if _now() - asked_at > wait + BELIEVED_SECONDS:
                    # We were stopped, or the line was: that was the head long ago.
                    asked_at, wait = _now(), 0.0
                    page = await self._feed.read(last)
                    continue
                await self._confirm()
                return
            # The next page travels while this one is applied.
            asked_at = _now()
            coming = asyncio.ensure_future(self._feed.read(last))
            try:
                await self._apply(page.entries)
                page = await coming
            finally:
                coming.cancel()

    def _is_of_another_history(self, page: Page) -> bool:
        return page.log_epoch != self._cursor.log_epoch or page.head < self._cursor.position

    def _check_run(self, page: Page) -> int:
        """Return the page's last position. Raises TransientFailure when it does not connect."""
        position = self._cursor.position
        for entry in page.entries:
            position += 1
            if entry.position != position:
                message = f"feed: expected position {position}, got {entry.position}"
                raise TransientFailure(message)
        if not page.entries and position < page.head:
            message = f"feed: no events after {position}, though its head is {page.head}"
            raise TransientFailure(message)
        return position

    async def _apply(self, entries: Sequence[Entry]) -> None:
        """Apply what comes next, in runs between what cannot be decoded."""
        run: list[Envelope] = []
        for entry in entries:
            if isinstance(entry, Envelope):
                run.append(entry)
                continue
            await self._apply_run(run)
            run = []
            await self._pass(entry)
        await self._apply_run(run)

    async def _apply_run(self, envelopes: Sequence[Envelope]) -> None:
        if envelopes:
            cursor = Cursor(self._cursor.log_epoch, envelopes[-1].position)
            await self._subscriber.apply(envelopes, cursor)
            self._cursor = cursor

    async def _pass(self, event: Undecodable) -> None:
        """Park an event. Raises UndecodableEvent when the subscriber may not go on without it."""
        if self._park is None:
            message = f"position {event.position}: {event.reason}"
            raise UndecodableEvent(message)
        cursor = Cursor(self._cursor.log_epoch, event.position)
        await self._park(event, cursor)
        self._cursor = cursor

    async def _confirm(self) -> None:
        await self._subscriber.confirm(self._cursor)
        self._confirmed_at = _now()
        if self.trouble is not None:
            log.info("subscription is following again", position=self._cursor.position)
            self._interrupted.over()
            self.trouble = None


def _now() -> float:
    return asyncio.get_running_loop().time()
