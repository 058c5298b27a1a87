"""Who may do what at the broker of the containers, which takes its users from our definitions."""

from collections.abc import AsyncIterator, Awaitable, Callable

import aio_pika
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPError

from shared.bus import INTERNAL_EXCHANGE, PUBLIC_EXCHANGE, open_publisher
from tests.support.missing import missing
from tests.support.private_broker import PrivateBroker
from tests.support.stack_secrets import contents_of, make_secrets

As = Callable[[str], Awaitable[AbstractChannel]]
Deed = Callable[[AbstractChannel], Awaitable[object]]
EXCHANGES = (PUBLIC_EXCHANGE, INTERNAL_EXCHANGE)
OWN_QUEUES = {
    "token": "oauthapps.token.x",
    "notifier": "oauthapps.notifier.x",
    "subscriber": "subscriber.x",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def urls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """Where each user reaches a broker that knows no other users; the exchanges are there."""
    if not PrivateBroker.is_installed():
        missing("no RabbitMQ with users of its own: install the package rabbitmq-server")
    folder = tmp_path_factory.mktemp("secrets")
    make_secrets(folder)
    passwords = contents_of(folder / "all")
    async with PrivateBroker(folder / "rabbitmq" / "definitions.json") as broker:
        found = {
            user: broker.url_as(user, passwords[f"{user}_bus_password"])
            for user in ("registry", "token", "notifier", "subscriber")
        }
        # As the relay does; it may.
        async with open_publisher(found["registry"], source="http://x", timeout_seconds=10):
            yield {**found, "guest": broker.url}


def publish(exchange: str) -> Deed:
    async def deed(channel: AbstractChannel) -> None:
        place = await channel.get_exchange(exchange, ensure=False)
        await place.publish(aio_pika.Message(b"x"), "application.created")

    return deed


def publish_to_queue(queue: str) -> Deed:
    async def deed(channel: AbstractChannel) -> None:
        await channel.default_exchange.publish(aio_pika.Message(b"x"), queue)

    return deed


def declare_exchange(name: str) -> Deed:
    async def deed(channel: AbstractChannel) -> None:
        await channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)

    return deed


def delete_exchange(name: str) -> Deed:
    async def deed(channel: AbstractChannel) -> None:
        await channel.exchange_delete(name)

    return deed


def declare_queue(name: str) -> Deed:
    async def deed(channel: AbstractChannel) -> None:
        await channel.declare_queue(name, exclusive=True)

    return deed


def read(queue: str, exchange: str) -> Deed:
    async def deed(channel: AbstractChannel) -> None:
        own = await channel.declare_queue(queue, exclusive=True)
        await own.bind(exchange, "#")

    return deed


async def may(url: str, deed: Deed) -> bool:
    """Tell whether a user may do it. What fails for another reason is raised."""
    async with await aio_pika.connect(url, timeout=10) as connection:
        try:
            await deed(await connection.channel())
        except AMQPError as error:
            if "ACCESS_REFUSED" not in str(error):
                raise
            return False
    return True


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("user", ["token", "notifier", "subscriber"])
async def test_only_the_registry_writes(urls: dict[str, str], user: str) -> None:
    """What is published is believed."""
    for exchange in EXCHANGES:
        assert await may(urls["registry"], publish(exchange))
        assert not await may(urls[user], publish(exchange))
        assert not await may(urls[user], declare_exchange(exchange))
        assert not await may(urls[user], delete_exchange(exchange))
    # A queue's own name is an address too, at the exchange without a name.
    for queue in OWN_QUEUES.values():
        assert not await may(urls[user], publish_to_queue(queue))
    assert not await may(urls[user], declare_exchange("another"))


@pytest.mark.asyncio(loop_scope="module")
async def test_each_reads_its_own_exchange_alone(urls: dict[str, str]) -> None:
    """Internal envelopes have digests of secrets in them."""
    allowed = {
        (user, exchange)
        for user, queue in OWN_QUEUES.items()
        for exchange in EXCHANGES
        if await may(urls[user], read(queue, exchange))
    }

    assert allowed == {
        ("token", INTERNAL_EXCHANGE),
        ("notifier", INTERNAL_EXCHANGE),
        ("subscriber", PUBLIC_EXCHANGE),
    }
    for exchange in EXCHANGES:
        assert not await may(urls["registry"], read("oauthapps.registry.x", exchange))


@pytest.mark.asyncio(loop_scope="module")
async def test_each_has_queues_of_its_own_names_alone(urls: dict[str, str]) -> None:
    """Nobody takes what is another's."""
    allowed = {
        (user, queue)
        for user in ("registry", *OWN_QUEUES)
        for queue in OWN_QUEUES.values()
        if await may(urls[user], declare_queue(queue))
    }

    assert allowed == set(OWN_QUEUES.items())


@pytest.mark.asyncio(loop_scope="module")
async def test_there_is_no_other_user(urls: dict[str, str]) -> None:
    """The broker would make `guest`, whose password is known."""
    with pytest.raises(AMQPError, match="ACCESS_REFUSED"):
        await aio_pika.connect(urls["guest"], timeout=10)
