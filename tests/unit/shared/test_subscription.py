"""The running subscription: what it does when nothing comes, and when something breaks."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from shared import subscription as subscription_module
from shared.envelope import Page, UndecodableEvent
from shared.failures import TransientFailure
from shared.sections import Subscription as Settings
from shared.subscription import BEGINNING, Cursor, Inbox, Subscription, Verdict, judge
from shared.tasks import end
from tests.support.eventually import eventually
from tests.unit.shared.factories import envelope, undecodable
from tests.unit.shared.test_subscription_machine import MemoryFeed, MemorySubscriber

QUICK = Settings(
    long_poll=timedelta(seconds=20),
    head_check=timedelta(milliseconds=20),
    retry_first=timedelta(milliseconds=1),
    retry_longest=timedelta(milliseconds=5),
)


class PollingFeed(MemoryFeed):
    """A feed that waits as asked, and counts."""

    def __init__(self) -> None:
        super().__init__(page_size=100)
        self.news = asyncio.Event()
        self.reads = 0
        self.waited: list[float] = []
        self.breakage: Exception | None = None
        self.breaks_at = 1

    async def read(self, after: int, *, wait: float = 0.0) -> Page:
        """Return at once what there is; else wait for news."""
        self.reads += 1
        self.waited.append(wait)
        if self.breakage is not None and self.reads >= self.breaks_at:
            breakage, self.breakage = self.breakage, None
            raise breakage
        if wait and len(self.log) <= after:
            self.news.clear()
            try:
                async with asyncio.timeout(wait):
                    await self.news.wait()
            except TimeoutError:
                pass
        return await super().read(after)

    def append(self, count: int = 1) -> None:
        """Add to the log and wake who waits."""
        for _ in range(count):
            self.log.append(envelope(len(self.log) + 1))
        self.news.set()

    def append_what_cannot_be_decoded(self) -> None:
        """Likewise, by a newer version."""
        self.log.append(undecodable(len(self.log) + 1))
        self.news.set()


@asynccontextmanager
async def following(
    feed: PollingFeed,
    subscriber: MemorySubscriber,
    inbox: Inbox | None = None,
    *,
    settings: Settings = QUICK,
    parks: bool = False,
) -> AsyncIterator[Subscription]:
    """Run a subscription beside the block."""
    park = subscriber.park if parks else None
    subscription = Subscription(subscriber, feed, settings, inbox=inbox, park=park)
    task = asyncio.create_task(subscription.run())
    try:
        yield subscription
    finally:
        await end(task)


@pytest.mark.parametrize(
    ("log_epoch", "position", "verdict"),
    [
        ("e", 4, Verdict.REPEATED),
        ("e", 5, Verdict.REPEATED),
        ("e", 6, Verdict.NEXT),
        ("e", 7, Verdict.GAP),
        ("other", 6, Verdict.GAP),
        ("other", 1, Verdict.GAP),
    ],
)
def test_an_envelope_means_one_of_three_things(
    log_epoch: str, position: int, verdict: Verdict
) -> None:
    """That is all there is to following a log."""
    assert verdict is judge(Cursor("e", 5), log_epoch, position)


async def test_without_a_bus_the_feed_is_long_polled() -> None:
    """The embedded default: news arrives at once, and an idle log costs nothing."""
    feed, subscriber = PollingFeed(), MemorySubscriber()
    feed.append(3)

    async with following(feed, subscriber):
        await eventually(lambda: len(subscriber.applied) == 3)
        await eventually(lambda: feed.waited[-1] > 0)
        reads = feed.reads
        feed.append()
        await eventually(lambda: len(subscriber.applied) == 4)

    assert feed.reads <= reads + 2
    assert set(feed.waited) <= {0.0, QUICK.long_poll.total_seconds()}


async def test_the_bus_alone_brings_the_next_event() -> None:
    """No read of the feed stands between a message and its effect."""
    feed, subscriber, inbox = PollingFeed(), MemorySubscriber(), Inbox()
    inbox.set_connected(True)
    rarely = QUICK.model_copy(update={"head_check": timedelta(minutes=1)})

    async with following(feed, subscriber, inbox, settings=rarely):
        await eventually(lambda: subscriber.confirmed.log_epoch)
        # Not in the feed: if it arrives, it came by the bus.
        message = envelope(1)
        inbox.put(feed.log_epoch, message)
        await eventually(lambda: subscriber.applied == [message])


async def test_a_lost_last_message_is_found_by_looking_at_the_head() -> None:
    """It has no successor, so no gap shows it."""
    feed, subscriber, inbox = PollingFeed(), MemorySubscriber(), Inbox()
    inbox.set_connected(True)

    async with following(feed, subscriber, inbox):
        await eventually(lambda: subscriber.confirmed.log_epoch)
        feed.append()
        await eventually(lambda: len(subscriber.applied) == 1)


async def test_a_bus_that_only_repeats_does_not_keep_the_head_from_being_looked_at() -> None:
    """A busy bus is no proof that nothing was lost."""
    feed, subscriber, inbox = PollingFeed(), MemorySubscriber(), Inbox()
    inbox.set_connected(True)
    feed.append(2)

    async with following(feed, subscriber, inbox):
        await eventually(lambda: len(subscriber.applied) == 2)
        feed.append()

        def repeat() -> bool:
            inbox.put(feed.log_epoch, feed.log[0])
            return len(subscriber.applied) == 3

        await eventually(repeat)


async def test_a_bus_that_goes_is_replaced_by_the_feed_at_once() -> None:
    """Nobody waits for it to come back."""
    feed, subscriber, inbox = PollingFeed(), MemorySubscriber(), Inbox()
    inbox.set_connected(True)

    async with following(feed, subscriber, inbox):
        await eventually(lambda: subscriber.confirmed.log_epoch)
        inbox.set_connected(False)
        await eventually(lambda: feed.waited[-1] > 0)
        feed.append()
        await eventually(lambda: len(subscriber.applied) == 1)


@pytest.mark.parametrize(
    "breakage", [UndecodableEvent("type 'ApplicationEaten' is not known"), KeyError("bug")]
)
async def test_whatever_breaks_is_told_and_tried_again(breakage: Exception) -> None:
    """A subscription that ends in silence is the worst there is."""
    feed, subscriber = PollingFeed(), MemorySubscriber()
    feed.append(2)
    feed.breakage = breakage
    seen: list[str | None] = []

    async with following(feed, subscriber) as subscription:

        def has_caught_up() -> bool:
            seen.append(subscription.trouble)
            return len(subscriber.applied) == 2

        await eventually(has_caught_up)
        await eventually(lambda: subscription.trouble is None)

    assert feed.reads > 1
    if isinstance(breakage, UndecodableEvent):
        assert {None, str(breakage)} >= set(seen)
    else:
        assert "bug" not in str(seen), "a message of ours is not an exception's value"


async def test_the_next_page_is_not_left_behind_when_an_apply_fails() -> None:
    """It travels while this one is applied; its own failure must not surface from nowhere."""
    unheard: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: unheard.append(context["message"])
    )
    feed, subscriber = PollingFeed(), MemorySubscriber()
    feed.page_size = 2
    feed.append(6)
    subscriber.cursor = Cursor(feed.log_epoch, 0)
    subscriber.fail_before = 1
    feed.breakage, feed.breaks_at = TransientFailure("feed: no answer"), 2

    async with following(feed, subscriber):
        await eventually(lambda: len(subscriber.applied) == 6)
    gc.collect()

    assert unheard == []


async def test_a_log_that_became_shorter_is_another_history() -> None:
    """Somebody restored a database and forgot to say so."""
    feed, subscriber = PollingFeed(), MemorySubscriber()
    feed.append(3)

    async with following(feed, subscriber):
        await eventually(lambda: len(subscriber.applied) == 3)
        feed.log = feed.log[:1]
        feed.news.set()
        await eventually(lambda: subscriber.applied == feed.log)


async def test_a_feed_that_holds_back_what_it_has_is_not_believed() -> None:
    """Confirming the head there would hide events, and asking on and on would burn a core."""
    feed, subscriber = PollingFeed(), MemorySubscriber()
    feed.append(1)
    feed.holes = 1000

    async with following(feed, subscriber) as subscription:
        await eventually(lambda: "no events after 0" in str(subscription.trouble))
        assert subscriber.confirmed.log_epoch is None
        feed.holes = 0
        await eventually(lambda: len(subscriber.applied) == 1)


async def test_what_the_bus_brings_ends_the_wait_for_another_try() -> None:
    """A registry that is back has clients at once: nobody sits out a pause of before."""
    feed, subscriber, inbox = PollingFeed(), MemorySubscriber(), Inbox()
    inbox.set_connected(True)
    feed.breakage = TransientFailure("no answer")
    patient = Settings(retry_first=timedelta(hours=1), retry_longest=timedelta(hours=1))
    async with following(feed, subscriber, inbox, settings=patient) as subscription:
        await eventually(lambda: subscription.trouble)
        feed.append()
        inbox.put(feed.log_epoch, feed.log[-1])

        await eventually(lambda: subscription.trouble is None)
    assert subscriber.applied == feed.log


async def test_what_the_bus_brings_is_applied_while_the_feed_is_out_of_reach() -> None:
    """A deactivation that has arrived must not wait until the registry can be asked again."""
    feed, subscriber, inbox = PollingFeed(), MemorySubscriber(), Inbox()
    feed.append(2)
    inbox.set_connected(True)
    async with following(feed, subscriber, inbox) as subscription:
        await eventually(lambda: len(subscriber.applied) == 2)
        feed.failures = 1_000_000
        await eventually(lambda: subscription.trouble)
        feed.append()
        inbox.put(feed.log_epoch, feed.log[-1])
        await eventually(lambda: len(subscriber.applied) == 3)


async def test_an_answer_that_was_long_under_way_confirms_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that was stopped for hours finds one waiting; the head is not there any more."""
    monkeypatch.setattr(subscription_module, "BELIEVED_SECONDS", 0.05)
    feed, subscriber = PollingFeed(), MemorySubscriber()
    feed.append(1)
    subscription = Subscription(subscriber, feed, QUICK)
    await subscription.catch_up()
    subscriber.confirmed = BEGINNING
    read = feed.read

    async def late(after: int, *, wait: float = 0.0) -> Page:
        page = await read(after)
        await asyncio.sleep(0.1)
        feed.append()
        monkeypatch.setattr(feed, "read", read)
        return page

    monkeypatch.setattr(feed, "read", late)
    await subscription.catch_up()

    assert subscriber.confirmed == Cursor(feed.log_epoch, 2)


async def test_a_subscription_stops_before_what_it_cannot_decode() -> None:
    """It may be a deactivation: nothing behind it is applied, and the head is never confirmed."""
    feed, subscriber, inbox = PollingFeed(), MemorySubscriber(), Inbox()
    inbox.set_connected(True)
    feed.append(2)
    feed.append_what_cannot_be_decoded()
    feed.append(2)

    async with following(feed, subscriber, inbox) as subscription:
        await eventually(lambda: "position 3: " in str(subscription.trouble))
        reads = feed.reads
        inbox.put(feed.log_epoch, feed.log[3])
        await eventually(lambda: feed.reads > reads + 2)
        assert subscriber.applied == feed.log[:2]
        assert subscriber.cursor == Cursor(feed.log_epoch, 2)
        assert subscriber.confirmed == BEGINNING
        assert "ApplicationEaten" in str(subscription.trouble)

        # As after an upgrade.
        feed.log[2] = envelope(3)
        await eventually(lambda: subscriber.applied == feed.log)
        await eventually(lambda: subscription.trouble is None)


async def test_a_subscription_that_stands_still_says_so_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not pass by itself, and the first line is soon out of sight."""
    monkeypatch.setattr(subscription_module, "SAY_AGAIN_SECONDS", 0.01)
    feed = PollingFeed()
    feed.append_what_cannot_be_decoded()

    with capture_logs() as logged:
        async with following(feed, MemorySubscriber()):
            await eventually(lambda: len(logged) > 2)

    assert {one["event"] for one in logged} == {"subscription stands still"}
    assert all("position 1: " in one["reason"] for one in logged)


@pytest.mark.parametrize("has_bus", [False, True])
async def test_with_a_place_to_park_it_the_stream_goes_on(has_bus: bool) -> None:  # noqa: FBT001
    """One event of a newer version must not hold up all that follow."""
    feed, subscriber, inbox = PollingFeed(), MemorySubscriber(), Inbox()
    inbox.set_connected(has_bus)
    rarely = QUICK.model_copy(update={"head_check": timedelta(minutes=1)})

    async with following(feed, subscriber, inbox, settings=rarely, parks=True) as subscription:
        await eventually(lambda: subscriber.confirmed.log_epoch)
        feed.append(2)
        feed.append_what_cannot_be_decoded()
        feed.append(2)
        if has_bus:
            for one in (*feed.log[:3], *feed.log):
                inbox.put(feed.log_epoch, one)
        await eventually(lambda: subscriber.applied == feed.log)
        assert subscription.trouble is None
        assert subscriber.cursor == Cursor(feed.log_epoch, 5)


async def test_a_message_that_was_damaged_is_read_from_the_feed() -> None:
    """What the bus brings is no reason to park what the log has whole."""
    feed, subscriber, inbox = PollingFeed(), MemorySubscriber(), Inbox()
    inbox.set_connected(True)
    rarely = QUICK.model_copy(update={"head_check": timedelta(minutes=1)})

    async with following(feed, subscriber, inbox, settings=rarely, parks=True):
        await eventually(lambda: subscriber.confirmed.log_epoch)
        feed.append()
        inbox.put(feed.log_epoch, undecodable(1))
        await eventually(lambda: subscriber.applied == feed.log)
