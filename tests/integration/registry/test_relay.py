"""The relay on a real RabbitMQ: in order, everything at least once, and never past a doubt."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import pytest
from prometheus_client import REGISTRY

from services.registry import relay as relay_module
from services.registry.event_store import EventStore
from services.registry.feed import Feed, Wakeup
from services.registry.relay import LEADER_LOCK, Relay
from shared.bus import INTERNAL_EXCHANGE, PUBLIC_EXCHANGE, open_publisher
from shared.envelope import decode_message
from shared.tasks import end
from tests.integration.registry.house import House, append
from tests.support.eventually import eventually
from tests.support.private_broker import PrivateBroker
from tests.support.tcp_proxy import TcpProxy
from tests.unit.registry.factories import deactivated

SOURCE = "http://registry.example"
EXPIRES_MILLISECONDS = 600_000


@pytest.fixture(autouse=True)
def _tries_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(relay_module, "RETRY_LONGEST_SECONDS", 0.5)


@asynccontextmanager
async def relaying(
    house: House, amqp_url: str, *, window: int = 16, timeout: float = 10
) -> AsyncIterator[Relay]:
    """Run a relay beside the block, as each registry process has one."""
    relay = Relay(
        house.dsn,
        Feed(house.pool, Wakeup(), asyncio.Event()),
        lambda: open_publisher(amqp_url, source=SOURCE, timeout_seconds=timeout),
        window=window,
    )
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        await end(task)


class Queue:
    """A durable queue of a foreign subscriber; what arrived is kept in the order of arrival.

    Each has a name of its own: a broker that is given outlives the test, and so does the queue.
    """

    def __init__(self, url: str, exchange: str) -> None:
        self._url = url
        self._exchange = exchange
        self._name = f"test.{uuid.uuid4().hex}"
        self.bodies: list[bytes] = []
        self.messages: list[aio_pika.abc.AbstractIncomingMessage] = []

    @asynccontextmanager
    async def consuming(self) -> AsyncIterator["Queue"]:
        """Declare, bind and consume."""
        connection = await aio_pika.connect(self._url, timeout=10)
        async with connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(
                self._exchange, aio_pika.ExchangeType.TOPIC, durable=True
            )
            queue = await channel.declare_queue(
                self._name, durable=True, arguments={"x-expires": EXPIRES_MILLISECONDS}
            )
            await queue.bind(exchange, "#")
            await queue.consume(self._take)
            yield self

    async def _take(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self.bodies.append(message.body)
        self.messages.append(message)
        await message.ack()

    def positions(self) -> list[int]:
        """Return the positions in the order of arrival, repeats included."""
        documents = [json.loads(body) for body in self.bodies]
        return [one.get("sequence", one.get("position")) for one in documents]


def public(url: str) -> Queue:
    """Return a queue of what everybody may read."""
    return Queue(url, PUBLIC_EXCHANGE)


def internal(url: str) -> Queue:
    """Return a queue of what our own services read."""
    return Queue(url, INTERNAL_EXCHANGE)


def unique(positions: list[int]) -> list[int]:
    """Return positions as a reader sees them that drops repeats."""
    return list(dict.fromkeys(positions))


async def cursor(house: House) -> int:
    """Return how far the relay is sure."""
    position: int = await house.pool.fetchval("SELECT position FROM registry.relay_cursor")
    return position


async def fill(house: House, store: EventStore, count: int) -> None:
    """Append so many events."""
    await asyncio.gather(*(store.append(house.application().creation()) for _ in range(count)))


async def _is_at(house: House, position: int) -> bool:
    return await cursor(house) == position


async def leaders(house: House) -> int:
    """Return how many sessions hold the relay's lock."""
    number: int = await house.pool.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND objid = (hashtext($1)::bigint & 4294967295)::oid",
        LEADER_LOCK,
    )
    return number


async def test_the_log_is_published_in_order_to_both_exchanges(
    house: House, store: EventStore, amqp_url: str
) -> None:
    """What was appended before the relay came, and what comes after."""
    await fill(house, store, 300)
    async with (
        public(amqp_url).consuming() as foreign,
        internal(amqp_url).consuming() as ours,
        relaying(house, amqp_url),
    ):
        await fill(house, store, 40)
        await eventually(lambda: len(foreign.bodies) >= 340 and len(ours.bodies) >= 340)
        await eventually(lambda: _is_at(house, 340))

    assert list(range(1, 341)) == foreign.positions()
    assert list(range(1, 341)) == ours.positions()


async def test_a_foreign_subscriber_sees_a_cloudevent_without_what_is_private(
    house: House, store: EventStore, amqp_url: str
) -> None:
    """No digest and no address, in body or headers; and all that routing needs."""
    told = house.application("CI")
    (stored,) = await store.append(told.creation())
    await store.append(append(told.id, 1, deactivated("CI", **told.subject)))
    async with (
        public(amqp_url).consuming() as foreign,
        internal(amqp_url).consuming() as ours,
        relaying(house, amqp_url),
    ):
        await eventually(lambda: len(foreign.bodies) == 2 and len(ours.bodies) == 2)

    document = json.loads(foreign.bodies[0])
    assert document["type"] == "oauthapps.ApplicationCreated.v1"
    assert document["source"] == SOURCE
    assert document["data"]["name"] == "CI"
    digest = str(stored.private.secret_digest)
    for message in foreign.messages:
        assert digest.encode() not in message.body
        assert b"owner@example.com" not in message.body
        assert digest not in str(message.headers)
        assert message.content_type == "application/cloudevents+json"
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert [one.routing_key for one in foreign.messages] == [
        "application.created",
        "application.deactivated",
    ]
    epoch, envelope = decode_message(ours.bodies[0])
    assert envelope == stored
    assert epoch == (await store.head()).log_epoch


async def test_of_two_relays_one_leads_and_everything_arrives(
    house: House, store: EventStore, amqp_url: str
) -> None:
    """Each registry process has one."""
    async with (
        public(amqp_url).consuming() as foreign,
        relaying(house, amqp_url),
        relaying(house, amqp_url),
    ):
        await eventually(lambda: leaders(house))
        for _ in range(5):
            await fill(house, store, 20)
            assert await leaders(house) == 1
        await eventually(lambda: _is_at(house, 100))

    assert list(range(1, 101)) == foreign.positions()


async def test_when_the_leader_ends_the_other_goes_on(
    house: House, store: EventStore, amqp_url: str
) -> None:
    """In the middle of its work; what it had not confirmed is published again."""
    async with public(amqp_url).consuming() as foreign:
        async with relaying(house, amqp_url, window=4):
            await eventually(lambda: leaders(house))
            async with relaying(house, amqp_url):
                filling = asyncio.create_task(fill(house, store, 200))
                await eventually(lambda: len(foreign.bodies) > 5)
                await house.pool.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                    " AND granted AND pid <> pg_backend_pid()"
                )
                await filling
                await eventually(lambda: _is_at(house, 200))
        await eventually(lambda: len(set(foreign.positions())) == 200)

    assert list(range(1, 201)) == sorted(set(foreign.positions()))


async def test_a_broker_that_stops_and_starts_loses_nothing(
    house: House, store: EventStore, private_broker: PrivateBroker
) -> None:
    """Also what was appended while it was away."""
    url = private_broker.url
    queue = public(url)
    async with relaying(house, url) as relay:
        async with queue.consuming():
            await fill(house, store, 20)
            await eventually(lambda: _is_at(house, 20))
        await private_broker.stop()
        await fill(house, store, 20)
        await eventually(lambda: relay.trouble is not None)
        assert await cursor(house) == 20
        await private_broker.start()
        await eventually(lambda: _is_at(house, 40), 30)
        async with queue.consuming():
            await eventually(lambda: set(queue.positions()) == set(range(1, 41)))
        await eventually(lambda: relay.trouble is None)

    assert unique(queue.positions()) == sorted(set(queue.positions()))


async def test_a_broker_that_goes_away_is_missed_before_there_is_something_to_publish(
    house: House, store: EventStore, amqp_url: str
) -> None:
    """A quiet night must not end with an alert that comes with the first change of the morning."""
    async with broken_line(amqp_url) as (proxy, url), relaying(house, url) as relay:
        await fill(house, store, 1)
        await eventually(lambda: _is_at(house, 1))
        await proxy.cut()
        await eventually(lambda: "cannot be reached" in str(relay.trouble))
        assert REGISTRY.get_sample_value("oauthapps_registry_relay_leader") == 0
        await proxy.release()
        await eventually(lambda: relay.trouble is None)
        assert REGISTRY.get_sample_value("oauthapps_registry_relay_leader") == 1


async def test_a_broker_that_is_killed_under_load_loses_nothing(
    house: House, store: EventStore, private_broker: PrivateBroker
) -> None:
    """What it confirmed it has on its disk; the rest is published again."""
    url = private_broker.url
    queue = public(url)
    async with queue.consuming():
        pass
    async with relaying(house, url):
        filling = asyncio.create_task(fill(house, store, 400))
        await eventually(lambda: cursor(house))
        await private_broker.kill()
        await filling
        await private_broker.start()
        await eventually(lambda: _is_at(house, 400), 30)
    async with queue.consuming():
        await eventually(lambda: set(queue.positions()) == set(range(1, 401)))


async def test_the_cursor_never_passes_a_message_that_was_not_confirmed(
    house: House, store: EventStore, amqp_url: str
) -> None:
    """The broker has it and nobody heard so; then the relay dies. It is published again."""
    async with public(amqp_url).consuming() as foreign, broken_line(amqp_url) as (proxy, url):
        async with relaying(house, url):
            await fill(house, store, 3)
            await eventually(lambda: _is_at(house, 3))
            proxy.hold_downstream()
            await fill(house, store, 5)
            await eventually(lambda: len(foreign.bodies) == 8)
            assert await cursor(house) == 3
            proxy.drop_connections()
        assert await cursor(house) == 3
        async with relaying(house, amqp_url):
            await eventually(lambda: _is_at(house, 8))
            await eventually(lambda: len(foreign.bodies) == 13)

    assert foreign.positions() == [1, 2, 3, 4, 5, 6, 7, 8, 4, 5, 6, 7, 8]


async def test_a_leader_that_was_deposed_does_not_move_the_cursor_back(
    house: House, store: EventStore, amqp_url: str
) -> None:
    """It lost its session without noticing, and its confirms come late."""
    async with (
        public(amqp_url).consuming() as foreign,
        broken_line(amqp_url) as (proxy, url),
        relaying(house, url),
    ):
        await fill(house, store, 3)
        await eventually(lambda: _is_at(house, 3))
        proxy.hold_downstream()
        await store.append(house.application().creation())
        await eventually(lambda: len(foreign.bodies) == 4)
        await fill(house, store, 4)
        # Meanwhile another one has led, and has published them.
        await house.pool.execute("UPDATE registry.relay_cursor SET position = 8")
        await proxy.release()
        await store.append(house.application().creation())
        await eventually(lambda: _is_at(house, 9))

    assert foreign.positions() == [1, 2, 3, 4, 9]


async def test_a_broker_that_answers_no_more_is_given_up(
    house: House, store: EventStore, amqp_url: str
) -> None:
    """A link that went silent looks like a slow one, until the time is up."""
    async with public(amqp_url).consuming() as foreign, broken_line(amqp_url) as (proxy, url):
        async with relaying(house, url, timeout=0.3) as relay:
            await fill(house, store, 3)
            await eventually(lambda: _is_at(house, 3))
            proxy.hold_downstream()
            await fill(house, store, 3)
            await eventually(lambda: "not confirmed" in str(relay.trouble))
            assert await cursor(house) == 3
            proxy.drop_connections()
            await proxy.release()
            await eventually(lambda: _is_at(house, 6))
            await eventually(lambda: relay.trouble is None)
        await eventually(lambda: set(foreign.positions()) == {1, 2, 3, 4, 5, 6})


async def test_the_window_bounds_what_is_under_way(
    house: House, store: EventStore, amqp_url: str
) -> None:
    """A broker that slows down slows the relay down, not the memory up."""
    await fill(house, store, 50)
    async with (
        public(amqp_url).consuming() as foreign,
        broken_line(amqp_url) as (proxy, url),
        relaying(house, url, window=4),
    ):
        await eventually(lambda: _is_at(house, 50))
        proxy.hold_downstream()
        await fill(house, store, 50)
        await eventually(lambda: len(foreign.bodies) == 54)
        with pytest.raises(AssertionError, match="not within"):
            await eventually(lambda: len(foreign.bodies) > 54, 0.3)
        proxy.drop_connections()


async def test_another_history_is_published_from_its_beginning(
    house: House, store: EventStore, amqp_url: str
) -> None:
    """A restored database comes with the cursor of a log that is no more."""
    async with public(amqp_url).consuming() as foreign:
        async with relaying(house, amqp_url):
            await fill(house, store, 3)
            await eventually(lambda: _is_at(house, 3))
        await house.pool.execute("UPDATE registry.log_head SET epoch = gen_random_uuid()")
        async with relaying(house, amqp_url):
            await eventually(lambda: len(foreign.bodies) == 6)

    epochs = [json.loads(body)["logepoch"] for body in foreign.bodies]
    assert foreign.positions() == [1, 2, 3, 1, 2, 3]
    assert len(set(epochs)) == 2


async def test_a_broker_that_is_not_there_is_trouble_that_names_no_password(
    house: House, store: EventStore, unused_tcp_port: int
) -> None:
    """And the log goes on without it."""
    url = f"amqp://guest:hunter2@127.0.0.1:{unused_tcp_port}/"
    async with relaying(house, url) as relay:
        await eventually(lambda: relay.trouble is not None)
        await fill(house, store, 1)

    assert f"127.0.0.1:{unused_tcp_port}" in str(relay.trouble)
    assert "hunter2" not in str(relay.trouble)


async def test_a_trouble_is_over_once_another_process_leads(
    house: House, amqp_url: str, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the lead would tell for ever what it met when it had it last."""
    monkeypatch.setattr(relay_module, "LED_SECONDS", 0.1)
    async with relaying(house, f"amqp://127.0.0.1:{unused_tcp_port}/") as relay:
        await eventually(lambda: relay.trouble is not None)
        async with relaying(house, amqp_url):
            await eventually(lambda: relay.trouble is None)


@asynccontextmanager
async def broken_line(amqp_url: str) -> AsyncIterator[tuple[TcpProxy, str]]:
    """Put a breakable line between the relay and the broker."""
    parts: Any = urlsplit(amqp_url)
    async with TcpProxy((parts.hostname, parts.port or 5672)) as proxy:
        account = parts.netloc.rpartition("@")[0]
        yield proxy, parts._replace(netloc=f"{account}@{proxy.host}:{proxy.port}").geturl()
