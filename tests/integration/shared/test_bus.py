"""RabbitMQ as our services use it: what is published arrives, and what is lost is said."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity

from shared import bus
from shared.bus import (
    INTERNAL_EXCHANGE,
    PUBLIC_EXCHANGE,
    BusUnavailable,
    declare_own_queue,
    follow,
    follow_public,
    open_publisher,
)
from shared.envelope import Entry, Envelope, Metadata
from shared.events import NO_PRIVATE_DATA, PrivateData
from shared.secret_source import bus_source
from shared.sections import Bus
from shared.subscription import Inbox
from shared.tasks import end
from shared.traceparent import Place
from tests.support.eventually import eventually
from tests.support.files import put
from tests.support.logged import Logged
from tests.support.ports import free_port
from tests.support.private_broker import PrivateBroker
from tests.unit.shared.factories import DIGEST, EPOCH, envelope
from tests.unit.shared.told import ToldTracing

SOURCE = "http://registry.example"
DEFINITIONS = Path(__file__).parents[3] / "deploy" / "rabbitmq" / "definitions.json"


@asynccontextmanager
async def following(url: str, inbox: Inbox) -> AsyncIterator[None]:
    """Fill an inbox beside the block."""
    async with beside(follow(url, "tests", inbox)):
        yield


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do something beside the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await end(task)


async def publish(url: str, *envelopes: Envelope) -> None:
    """Publish as the relay does."""
    async with open_publisher(url, source=SOURCE, timeout_seconds=10) as publisher:
        for one in envelopes:
            await publisher.publish(one, EPOCH)


async def take(inbox: Inbox, count: int) -> list[tuple[str, Entry]]:
    """Take so many."""
    taken: list[tuple[str, Entry]] = []
    async with asyncio.timeout(10):
        while len(taken) < count:
            taken += await inbox.take(1)
    return taken


async def declared(url: str) -> None:
    """Declare the exchanges: whoever follows does not."""
    await publish(url)


async def test_a_subscriber_gets_the_whole_envelope(amqp_url: str) -> None:
    """With the digest: the internal exchange is for our own services."""
    await declared(amqp_url)
    inbox = Inbox()
    sent = [
        envelope(position, private=PrivateData(secret_digest=DIGEST)) for position in range(1, 6)
    ]
    async with following(amqp_url, inbox):
        await eventually(lambda: inbox.connected)
        await publish(amqp_url, *sent)

        assert [(EPOCH, one) for one in sent] == await take(inbox, 5)


async def test_a_foreign_subscriber_gets_what_is_public(amqp_url: str) -> None:
    """As the public feed has it, so that one machine can take both."""
    await declared(amqp_url)
    inbox = Inbox()
    sent = [
        envelope(position, private=PrivateData(secret_digest=DIGEST)) for position in range(1, 6)
    ]
    async with beside(follow_public(amqp_url, inbox)):
        await eventually(lambda: inbox.connected)
        await publish(amqp_url, *sent)
        taken = await take(inbox, 5)

    nobody = Metadata(command_id="", actor="")
    assert taken == [
        (EPOCH, replace(one, version=0, private=NO_PRIVATE_DATA, metadata=nobody)) for one in sent
    ]


async def test_what_follows_goes_on_where_it_was_published(amqp_url: str) -> None:
    """Of a trace our own services are told, and nobody else."""
    await declared(amqp_url)
    ours, foreign, tracing = Inbox(), Inbox(), ToldTracing()
    sent = envelope(1)
    in_request = replace(sent.metadata, traceparent=str(Place(7, 7)))
    async with following(amqp_url, ours), beside(follow_public(amqp_url, foreign)):
        await eventually(lambda: ours.connected and foreign.connected)
        with tracing.following("publish", str(Place(7, 7)), "producer", {}):
            await publish(amqp_url, replace(sent, metadata=in_request))
        ((_, mine),) = await take(ours, 1)
        ((_, theirs),) = await take(foreign, 1)

    (span,) = tracing.told
    assert isinstance(mine, Envelope)
    assert isinstance(theirs, Envelope)
    assert mine == replace(sent, metadata=replace(in_request, traceparent=str(span.place)))
    assert theirs.metadata.traceparent is None


def permissions_of_subscriber() -> dict[str, str]:
    """Return what `deploy/rabbitmq/definitions.json` lets foreign subscribers do."""
    permissions = json.loads(DEFINITIONS.read_text(encoding="utf-8"))["permissions"]
    (asked,) = (one for one in permissions if one["user"] == "subscriber")
    return {name: asked[name] for name in ("configure", "write", "read")}


async def test_a_foreign_subscriber_needs_no_more_than_it_may(
    private_broker: PrivateBroker,
) -> None:
    """With the permissions that we set up: queues of its own names, and the public exchange."""
    await declared(private_broker.url)
    foreign = await private_broker.add_user("subscriber", **permissions_of_subscriber())
    inbox, ours = Inbox(), Inbox()
    async with beside(follow_public(foreign, inbox)), following(foreign, ours):
        await eventually(lambda: inbox.connected)
        await publish(private_broker.url, envelope(1))

        assert [position_of(one) for one in await take(inbox, 1)] == [1]
        assert not ours.connected
    async with await aio_pika.connect(foreign) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("subscriber.curious", exclusive=True)
        with pytest.raises(AMQPError, match="ACCESS_REFUSED"):
            await queue.bind(INTERNAL_EXCHANGE, "#")


def position_of(arrived: tuple[str, Entry]) -> int:
    """Return where in the log something that arrived stands."""
    return arrived[1].position


async def test_a_subscriber_that_takes_nothing_keeps_nobody_waiting(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue holds so many messages and drops the oldest; the relay gets its confirms."""
    monkeypatch.setattr(bus, "INBOX_CAPACITY", 5)
    await declared(amqp_url)
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        queue = await declare_own_queue(channel, "subscriber.dead", PUBLIC_EXCHANGE)
        await publish(amqp_url, *(envelope(position) for position in range(1, 21)))
        state = await channel.declare_queue(queue.name, passive=True)

        assert state.declaration_result.message_count == 5
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        with pytest.raises(ChannelNotFoundEntity):
            await channel.declare_queue(queue.name, passive=True)


async def test_each_subscriber_gets_everything(amqp_url: str) -> None:
    """Replicas do not share a queue."""
    await declared(amqp_url)
    here, there = Inbox(), Inbox()
    async with following(amqp_url, here), following(amqp_url, there):
        await eventually(lambda: here.connected and there.connected)
        await publish(amqp_url, envelope(1))

        assert len(await take(here, 1)) == len(await take(there, 1)) == 1


async def test_a_message_of_a_newer_version_is_left_to_the_feed(amqp_url: str) -> None:
    """It must not end the subscription, nor block what follows it."""
    await declared(amqp_url)
    inbox = Inbox()
    async with following(amqp_url, inbox):
        await eventually(lambda: inbox.connected)
        connection = await aio_pika.connect(amqp_url)
        async with connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange(INTERNAL_EXCHANGE)
            for body in (b"junk", b"", b'{"type": "ApplicationEaten"}'):
                await exchange.publish(aio_pika.Message(body), "application.eaten")
        await publish(amqp_url, envelope(1))

        assert len(await take(inbox, 1)) == 1


async def test_a_subscriber_whose_exchange_is_not_there_yet_comes_when_it_is(
    amqp_url: str,
) -> None:
    """The order in which services start does not matter."""
    inbox = Inbox()
    async with following(amqp_url, inbox):
        with pytest.raises(AssertionError, match="not within"):
            await eventually(lambda: inbox.connected, 0.5)
        await declared(amqp_url)
        await eventually(lambda: inbox.connected)


async def test_an_inbox_that_is_no_longer_filled_says_so(amqp_url: str) -> None:
    """Whoever reads it goes to the feed then."""
    await declared(amqp_url)
    inbox = Inbox()
    async with following(amqp_url, inbox):
        await eventually(lambda: inbox.connected)
    assert not inbox.connected


async def test_a_broker_that_restarts_is_followed_again(
    private_broker: PrivateBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And meanwhile the inbox says that it is not connected, so that the feed is read."""
    monkeypatch.setattr(bus, "RETRY_LONGEST_SECONDS", 0.5)
    url = private_broker.url
    await declared(url)
    inbox = Inbox()
    async with following(url, inbox):
        await eventually(lambda: inbox.connected)
        await private_broker.kill()
        await eventually(lambda: not inbox.connected)
        await private_broker.start()
        # As the relay does: a broker that is killed may forget what it was told just before.
        await declared(url)
        await eventually(lambda: inbox.connected, 30)
        await publish(url, envelope(1))

        assert len(await take(inbox, 1)) == 1


async def test_publishing_to_a_broker_that_died_is_a_known_failure(
    private_broker: PrivateBroker,
) -> None:
    """The relay opens another publisher."""
    async with open_publisher(private_broker.url, source=SOURCE, timeout_seconds=2) as publisher:
        await publisher.publish(envelope(1), EPOCH)
        await private_broker.kill()
        with pytest.raises(BusUnavailable):
            await publisher.publish(envelope(2), EPOCH)


@pytest.mark.parametrize(
    "url",
    [
        "amqp://guest:hunter2@127.0.0.1:{port}/",
        "amqp://guest:hunter2@no-such-host.invalid/",
        "nonsense://guest:hunter2@127.0.0.1:{port}/",
    ],
)
async def test_a_broker_that_cannot_be_reached_is_named_without_its_password(url: str) -> None:
    """Host and port are what an operator needs."""
    with pytest.raises(BusUnavailable) as caught:
        async with open_publisher(url.format(port=free_port()), source=SOURCE, timeout_seconds=2):
            pass
    assert "hunter2" not in str(caught.value)
    assert "cannot be reached" in str(caught.value)


async def test_a_wrong_password_is_a_known_failure(amqp_url: str) -> None:
    """Not a reason to die: the feed goes on."""
    wrong = amqp_url.replace(":guest@", ":hunter2@")
    with pytest.raises(BusUnavailable) as caught:
        async with open_publisher(wrong, source=SOURCE, timeout_seconds=2):
            pass
    assert "hunter2" not in str(caught.value)


async def test_each_cause_has_its_words_and_passes_by_itself(
    private_broker: PrivateBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    """A URL in a file: missing, wrong in each way, and right at last; nothing is restarted."""
    monkeypatch.setattr(bus, "RETRY_LONGEST_SECONDS", 0.05)
    file = tmp_path / "url"
    source = bus_source(Bus(url_file=file))
    assert source is not None
    inbox = Inbox()

    async def troubles() -> tuple[str, str]:
        """Return why nothing is heard, and why nothing can be published."""
        try:
            async with open_publisher(source, source=SOURCE, timeout_seconds=5) as publisher:
                await publisher.publish(envelope(1), EPOCH)
        except BusUnavailable as failure:
            return inbox.trouble or "", str(failure)
        return inbox.trouble or "", ""

    async def both_say(words: str) -> bool:
        return all(words in said for said in await troubles())

    async with beside(follow(source, "tests", inbox)):
        await eventually(lambda: both_say(f"secret file {file}: cannot be read (No such file"))
        put(file, f"amqp://guest:hunter2@127.0.0.1:{free_port()}/")
        await eventually(lambda: both_say("cannot be reached (Connection refused)"))
        put(file, private_broker.url.replace("amqp:", "amqps:"))
        await eventually(lambda: both_say("cannot be reached (TLS failed: [SSL: WRONG_VERSION"))
        put(file, private_broker.url_as("guest", "hunter2"))
        await eventually(lambda: both_say("refuses user 'guest': wrong password, or no such user"))
        put(file, private_broker.url_of("nowhere"))
        await eventually(lambda: both_say("no such virtual host, or no permissions there"))
        put(file, await private_broker.add_user("none", configure="^$", write="^$", read="^$"))
        await eventually(lambda: both_say("refused for user 'none'; grant the permission"))

        async with await aio_pika.connect(private_broker.url) as connection:
            channel = await connection.channel()
            await channel.declare_exchange(INTERNAL_EXCHANGE, aio_pika.ExchangeType.DIRECT)
            put(file, private_broker.url)
            words = "inequivalent arg 'type' for exchange 'oauthapps.internal'"

            async def is_told() -> bool:
                return words in (await troubles())[1]

            await eventually(is_told)
            await eventually(lambda: inbox.connected)
            await channel.exchange_delete(INTERNAL_EXCHANGE)
        assert await troubles() == ("", "")

        # Here the broker says so after the fact, by closing the channel.
        mute = await private_broker.add_user("mute", configure="^oauth", write="^$", read="^$")
        put(file, mute)
        assert "not confirmed (access to exchange" in (await troubles())[1]
        assert "refused for user 'mute'; grant the permission" in (await troubles())[1]
    text = logged.text()
    assert "hunter2" not in text
    # A try every 50 ms, and a line for each cause.
    assert logged.count("bus lost, following the feed") == 6
    assert "Traceback" not in text


async def test_a_password_that_was_not_escaped_is_not_told() -> None:
    """The library takes it for the port; the message must not repeat it, nor the job die of it."""
    inbox = Inbox()
    url = "amqp://guest:s3cr/et@127.0.0.1/"
    task = asyncio.create_task(follow(url, "test", inbox))
    await asyncio.wait({task}, timeout=0.2)
    assert not task.done()
    task.cancel()

    with pytest.raises(BusUnavailable) as failure:
        async with open_publisher(url, source="x", timeout_seconds=1):
            pass
    assert "s3cr" not in str(failure.value)
