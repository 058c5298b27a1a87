"""The intake over a real RabbitMQ: told soon by the bus, told surely by the feed, and told once."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import aio_pika

from services.notifier.deliveries import Deliveries, Filter
from services.notifier.intake import Intake
from shared.bus import INTERNAL_EXCHANGE, Publisher, open_publisher
from shared.envelope import Envelope, Page
from shared.sections import Subscription
from shared.web import background
from tests.integration.notifier.house import EPOCH
from tests.integration.notifier.test_intake import Log, recorder, waits_for_the_lock
from tests.support.eventually import eventually
from tests.unit.notifier.factories import application_created, envelope, tokens_revoked

# So long that nothing but the bus can bring an event within a test.
RARELY = timedelta(minutes=5)


class WatchedLog(Log):
    """A log that remembers up to where its feed has handed it out."""

    handed_out = 0

    async def read(self, after: int, *, wait: float = 0.0) -> Page:
        page = await super().read(after, wait=wait)
        self.handed_out = page.head
        return page


class Bus:
    """A log, an intake that follows it, and the relay between them, which the test is."""

    def __init__(self, log: WatchedLog, publisher: Publisher, deliveries: Deliveries) -> None:
        self.log = log
        self._publisher = publisher
        self._deliveries = deliveries

    def append(self, *names: str) -> list[Envelope]:
        """Let applications be created that nobody has been told of yet."""
        for name in names:
            position = len(self.log.events) + 1
            self.log.events.append(envelope(position, application_created(name=name)))
        return self.log.events[len(self.log.events) - len(names) :]

    async def publish(self, *events: Envelope, epoch: str = EPOCH) -> None:
        """Put events on the bus, in this order."""
        for event in events:
            await self._publisher.publish(event, epoch)

    async def told(self) -> list[str]:
        """Return the names of the applications that somebody is to hear of, in order."""
        rows = await self._deliveries.page(Filter(), 100)
        return [row["context"]["application_name"] for row in sorted(rows, key=_position)]

    async def have_told(self, *names: str) -> bool:
        return await self.told() == list(names)

    async def delivers(self) -> bool:
        """Tell of an event without a rule; True when it was the bus that brought it."""
        position = len(self.log.events) + 1
        self.log.events.append(envelope(position, tokens_revoked()))
        await self.publish(self.log.events[-1])
        await eventually(lambda: self._has_read(position))
        return position > self.log.handed_out

    async def _has_read(self, position: int) -> bool:
        return (await self._deliveries.cursor()).position >= position


def _position(row: dict[str, int]) -> int:
    return row["position"]


@asynccontextmanager
async def following(
    database_url: str, amqp_url: str, deliveries: Deliveries, log: WatchedLog | None = None
) -> AsyncIterator[Bus]:
    """Run an intake that the bus reaches."""
    log = log or WatchedLog()
    rarely = Subscription(head_check=RARELY, long_poll=timedelta(milliseconds=10))
    intake = Intake(database_url, recorder(deliveries, log), log, rarely, bus=amqp_url)
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(
            open_publisher(amqp_url, source="http://registry.example", timeout_seconds=10)
        )
        await stack.enter_async_context(background(intake.run()))
        bus = Bus(log, publisher, deliveries)
        await eventually(bus.delivers)
        yield bus


async def test_a_published_event_becomes_a_delivery_at_once(
    database_url: str, amqp_url: str, deliveries: Deliveries
) -> None:
    """Nobody waits for the next look at the feed; it is not even asked."""
    async with following(database_url, amqp_url, deliveries) as bus:
        reads = bus.log.reads
        await bus.publish(*bus.append("first"))
        await eventually(lambda: bus.have_told("first"))

        assert bus.log.reads == reads


async def test_a_repeated_message_makes_no_second_delivery(
    database_url: str, amqp_url: str, deliveries: Deliveries
) -> None:
    """The relay repeats what was not confirmed: after a crash, all that was under way."""
    async with following(database_url, amqp_url, deliveries) as bus:
        first, second = bus.append("first", "second")
        await bus.publish(first, first, second, first, second)
        # Told after all the repeats, which by then have been dealt with.
        await bus.publish(*bus.append("third"))
        await eventually(lambda: bus.have_told("first", "second", "third"))


async def test_a_lost_message_is_read_from_the_feed(
    database_url: str, amqp_url: str, deliveries: Deliveries
) -> None:
    """The next one shows the gap; and what comes late after all is known already."""
    async with following(database_url, amqp_url, deliveries) as bus:
        lost, late, seen = bus.append("lost", "late", "seen")
        await bus.publish(seen, late)
        await eventually(lambda: bus.have_told("lost", "late", "seen"))
        await bus.publish(lost, *bus.append("last"))
        await eventually(lambda: bus.have_told("lost", "late", "seen", "last"))


async def test_a_message_that_is_none_disturbs_nobody(
    database_url: str, amqp_url: str, deliveries: Deliveries
) -> None:
    """Whoever may write to the exchange can write anything."""
    async with following(database_url, amqp_url, deliveries) as bus:
        connection = await aio_pika.connect(amqp_url, timeout=10)
        async with connection, connection.channel() as channel:
            exchange = await channel.get_exchange(INTERNAL_EXCHANGE)
            for junk in (b"", b"{}", b"\xff\x00", b'{"position": "one"}'):
                await exchange.publish(aio_pika.Message(junk), routing_key="application.created")
        await bus.publish(*bus.append("after"))
        await eventually(lambda: bus.have_told("after"))


async def test_a_message_of_another_history_is_checked_against_the_feed(
    database_url: str, amqp_url: str, deliveries: Deliveries
) -> None:
    """A registry that was restored is believed when its feed says so, not before."""
    async with following(database_url, amqp_url, deliveries) as bus:
        stranger = envelope(len(bus.log.events) + 1, application_created(name="stranger"))
        await bus.publish(stranger, epoch="55555555-5555-4555-8555-555555555555")
        await bus.publish(*bus.append("own"))
        await eventually(lambda: bus.have_told("own"))


async def test_two_processes_record_each_event_once(
    database_url: str, amqp_url: str, deliveries: Deliveries
) -> None:
    """One follows, the other waits for the lock; the bus reaches only the first."""
    async with following(database_url, amqp_url, deliveries) as bus:
        rarely = Subscription(head_check=RARELY)
        second = Intake(database_url, recorder(deliveries), bus.log, rarely, bus=amqp_url)
        async with background(second.run()):
            await eventually(lambda: waits_for_the_lock(database_url))
            await bus.publish(*bus.append("first", "second"))
            await eventually(lambda: bus.have_told("first", "second"))
