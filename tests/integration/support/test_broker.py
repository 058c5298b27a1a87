"""Tests do not hear each other's messages; a private broker can be broken and comes back."""

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPError

from tests.support.broker import Broker
from tests.support.private_broker import PrivateBroker

QUEUE = "kept"


async def put(channel: AbstractChannel, body: bytes) -> None:
    await channel.declare_queue(QUEUE, durable=True)
    message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, QUEUE)


async def take(url: str) -> bytes | None:
    async with await aio_pika.connect(url, timeout=10) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(QUEUE, durable=True)
        message = await queue.get(no_ack=True, fail=False)
        return message.body if message else None


async def test_two_tests_do_not_hear_each_other(broker: Broker, amqp_url: str) -> None:
    """Our exchanges have fixed names, so each test gets a virtual host."""
    other = await broker.add_vhost("other")
    if other == amqp_url:
        pytest.skip("a given broker has one virtual host")
    async with await aio_pika.connect(other, timeout=10) as connection:
        await put(await connection.channel(), b"theirs")
    assert await take(amqp_url) is None
    assert await take(other) == b"theirs"
    await broker.delete_vhost("other")


async def test_a_restart_keeps_what_was_confirmed(private_broker: PrivateBroker) -> None:
    """Fault tests stop the broker in the middle and look for what is lost: only ours may be."""
    async with await aio_pika.connect(private_broker.url, timeout=10) as connection:
        await put(await connection.channel(), b"after stop")
        await private_broker.stop()
    with pytest.raises((OSError, AMQPError)):
        await aio_pika.connect(private_broker.url, timeout=2)
    await private_broker.start()
    assert await take(private_broker.url) == b"after stop"

    async with await aio_pika.connect(private_broker.url, timeout=10) as connection:
        await put(await connection.channel(), b"after kill")
        await private_broker.kill()
    await private_broker.start()
    assert await take(private_broker.url) == b"after kill"
