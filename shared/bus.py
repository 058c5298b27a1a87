"""RabbitMQ: how events are published, and how a service of ours hears of them.

Two durable topic exchanges: `oauthapps.events` carries public CloudEvents for everybody,
`oauthapps.internal` the whole envelope for token service and notifier. The bus tells things soon;
what it loses is read from the feed, so whoever follows it with us has a queue that is exclusive,
bounded and unacknowledged: one that dies or falls behind costs the broker nothing, nor the relay.
"""

import asyncio
import errno
import os
import re
import uuid
from collections.abc import Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import aio_pika
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractExchange,
    AbstractIncomingMessage,
    AbstractQueue,
)
from aio_pika.exceptions import (
    AMQPError,
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ProbableAuthenticationError,
    ProtocolSyntaxError,
)
from prometheus_client import Counter

from shared.cut_urls import is_cut
from shared.envelope import (
    CLOUDEVENTS_MEDIA_TYPE,
    Entry,
    Envelope,
    UndecodableEvent,
    decode_cloudevent,
    decode_message,
    encode_json,
    encode_message,
    routing_key,
    to_cloudevent,
)
from shared.failures import TransientFailure
from shared.logs import get_logger
from shared.metrics import summed_gauge
from shared.recurring import Recurring
from shared.secret_source import Secret
from shared.setting_values import ConfigurationError
from shared.subscription import INBOX_CAPACITY, Inbox
from shared.traceparent import place_of
from shared.tracing import traceparent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PUBLIC_EXCHANGE = "oauthapps.events"
INTERNAL_EXCHANGE = "oauthapps.internal"
# The user `subscriber` may use no other names than these; see deploy/rabbitmq/definitions.json.
SUBSCRIBER_PREFIX = "subscriber"
TRACEPARENT = "traceparent"
CONNECT_SECONDS = 5.0
RETRY_FIRST_SECONDS = 0.2
RETRY_LONGEST_SECONDS = 5.0
Decode = Callable[[bytes], tuple[str, Entry]]
log = get_logger(__name__)

UNREADABLE = Counter(
    "oauthapps_bus_unreadable_messages_total", "Messages that do not name their place in the log"
)
CONNECTED = summed_gauge(
    "oauthapps_bus_connected", "1 in the process that hears of events by RabbitMQ", ["service"]
)
WAITING = summed_gauge(
    "oauthapps_bus_waiting_events", "Events that RabbitMQ brought and nobody took yet", ["service"]
)
_OWN_NAME = re.compile(r"\.[0-9a-f]{32}")
_LOST = (AMQPError, OSError, TimeoutError, asyncio.InvalidStateError, RuntimeError)


class BusUnavailable(TransientFailure):
    """RabbitMQ did not take what we had for it."""


class Publisher:
    """One channel with publisher confirms, good until the first failure; then open another."""

    def __init__(
        self,
        channel: AbstractChannel,
        public: AbstractExchange,
        internal: AbstractExchange,
        *,
        source: str,
        timeout_seconds: float,
    ) -> None:
        self._channel = channel
        self._public = public
        self._internal = internal
        self._source = source
        self._timeout_seconds = timeout_seconds

    def look(self) -> None:
        """Return when the channel is open still. Raises BusUnavailable."""
        if self._channel.is_closed:
            message = "RabbitMQ: connection closed"
            raise BusUnavailable(message)

    async def publish(self, envelope: Envelope, log_epoch: str) -> None:
        """Return once the broker has confirmed both forms. Raises BusUnavailable."""
        key = routing_key(envelope.type)
        cloudevent = to_cloudevent(envelope, log_epoch=log_epoch, source=self._source)
        public = _message(encode_json(cloudevent), CLOUDEVENTS_MEDIA_TYPE)
        internal = _message(encode_message(envelope, log_epoch), "application/json")
        place = traceparent()
        if place is not None:
            # Of the internal form alone: others are told what happened, and not by which request.
            internal.headers[TRACEPARENT] = place
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await asyncio.gather(
                    self._internal.publish(internal, key, mandatory=False),
                    self._public.publish(public, key, mandatory=False),
                )
        except _LOST as error:
            reason = _reason(error)
            if isinstance(error, TimeoutError):
                reason = "no answer in time: do alarms of memory or disk keep publishers waiting?"
            message = f"RabbitMQ: not confirmed ({reason})"
            raise BusUnavailable(message) from None


def _message(body: bytes, content_type: str) -> aio_pika.Message:
    return aio_pika.Message(
        body,
        content_type=content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        # Of the attempt, not of the event: two in flight must never share one.
        message_id=uuid.uuid4().hex,
    )


def open_publisher(
    url: Secret, *, source: str, timeout_seconds: float
) -> AbstractAsyncContextManager[Publisher]:
    """Connect and declare both exchanges. Raises BusUnavailable."""
    return _open_publisher(url, source=source, timeout_seconds=timeout_seconds)


@asynccontextmanager
async def _open_publisher(
    url: Secret, *, source: str, timeout_seconds: float
) -> "AsyncIterator[Publisher]":
    connection, place = await _connect(url)
    try:
        try:
            async with asyncio.timeout(timeout_seconds):
                channel = await connection.channel(publisher_confirms=True)
                public = await _declare(channel, PUBLIC_EXCHANGE)
                internal = await _declare(channel, INTERNAL_EXCHANGE)
        except _LOST as error:
            message = f"RabbitMQ at {place}: exchanges not declared ({_reason(error)})"
            raise BusUnavailable(message) from None
        yield Publisher(channel, public, internal, source=source, timeout_seconds=timeout_seconds)
    finally:
        await _close(connection)


async def _declare(channel: AbstractChannel, name: str) -> AbstractExchange:
    return await channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)


async def look(url: Secret) -> None:
    """Return when RabbitMQ is reached and has our exchanges. Raises BusUnavailable.

    Asked for, not declared: every user may.
    """
    connection, place = await _connect(url)
    try:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                channel = await connection.channel(publisher_confirms=False)
                for name in (PUBLIC_EXCHANGE, INTERNAL_EXCHANGE):
                    await channel.get_exchange(name)
        except _LOST as error:
            message = f"RabbitMQ at {place}: no exchanges ({_reason(error)})"
            raise BusUnavailable(message) from None
    finally:
        await _close(connection)


async def follow_public(url: Secret, inbox: Inbox, *, name: str = "api") -> None:
    """Fill an inbox with what everybody may read, until cancelled; for a system of somebody else's.

    The envelopes are as `PublicFeed` has them: without what is private, and without metadata.
    """
    prefix = f"{SUBSCRIBER_PREFIX}.{name}"
    await follow(url, prefix, inbox, exchange=PUBLIC_EXCHANGE, decode=decode_cloudevent)


async def follow(
    url: Secret,
    queue_prefix: str,
    inbox: Inbox,
    *,
    exchange: str = INTERNAL_EXCHANGE,
    decode: Decode = decode_message,
    service: str | None = None,
) -> None:
    """Fill an inbox with what an exchange carries, until cancelled; reconnect as needed.

    The queue belongs to this connection and vanishes with it: whoever comes back reads the feed.
    `service` is the one of ours under whose name `/metrics` tells of it.
    """
    with nullcontext() if service is None else _measured(service, inbox):
        await _follow(url, queue_prefix, inbox, exchange, decode)


@contextmanager
def _measured(service: str, inbox: Inbox) -> "Iterator[None]":
    CONNECTED.labels(service).set_function(lambda: inbox.connected)
    WAITING.labels(service).set_function(inbox.waiting)
    try:
        yield
    finally:
        CONNECTED.remove(service)
        WAITING.remove(service)


async def _follow(
    url: Secret, queue_prefix: str, inbox: Inbox, exchange: str, decode: Decode
) -> None:

    def take(message: AbstractIncomingMessage) -> None:
        try:
            log_epoch, entry = decode(message.body)
        except UndecodableEvent as error:
            # It names no place in the log: if there is one, the gap is filled from the feed.
            UNREADABLE.inc()
            log.warning("message left to the feed", reason=str(error))
        else:
            inbox.put(log_epoch, _brought(entry, message.headers.get(TRACEPARENT)))

    pause = RETRY_FIRST_SECONDS
    lost = Recurring(log, "bus lost, following the feed", over=None)
    while True:
        try:
            async with _consumer(url, exchange, queue_prefix, take) as (closed, place):
                inbox.set_connected(True)
                inbox.trouble = None
                log.info("following the bus", broker=place)
                lost.over()
                pause = RETRY_FIRST_SECONDS
                await closed
                reason = "connection closed"
        except BusUnavailable as failure:
            reason = str(failure)
        finally:
            inbox.set_connected(False)
        inbox.trouble = reason
        lost.say(reason)
        await asyncio.sleep(pause)
        pause = min(pause * 2, RETRY_LONGEST_SECONDS)


def _brought(entry: Entry, header: object) -> Entry:
    """Return an event of which all that follows is told where it was published."""
    if not isinstance(entry, Envelope) or not isinstance(header, str) or place_of(header) is None:
        return entry
    return replace(entry, metadata=replace(entry.metadata, traceparent=header))


@asynccontextmanager
async def _consumer(
    url: Secret, exchange: str, queue_prefix: str, take: Callable[[AbstractIncomingMessage], None]
) -> "AsyncIterator[tuple[Awaitable[None], str]]":
    connection, place = await _connect(url)
    closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_close(*_: object) -> None:
        if not closed.done():
            closed.set_result(None)

    async def on_message(message: AbstractIncomingMessage) -> None:
        take(message)

    connection.close_callbacks.add(on_close)
    try:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                channel = await connection.channel(publisher_confirms=False)
                channel.close_callbacks.add(on_close)
                # Somebody may delete the queue: the connection lives on then, and brings nothing.
                underlay = await channel.get_underlay_channel()
                underlay.on_consumer_cancel_callbacks.add(on_close)
                queue = await declare_own_queue(channel, queue_prefix, exchange)
                await queue.consume(on_message, no_ack=True)
        except _LOST as error:
            message = f"RabbitMQ at {place}: no queue ({_reason(error)})"
            raise BusUnavailable(message) from None
        yield closed, place
    finally:
        await _close(connection)


async def declare_own_queue(
    channel: AbstractChannel, queue_prefix: str, exchange: str
) -> AbstractQueue:
    """Return a new queue that hears all of an exchange, and vanishes with its connection."""
    queue = await channel.declare_queue(
        f"{queue_prefix}.{uuid.uuid4().hex}",
        exclusive=True,
        auto_delete=True,
        arguments={"x-max-length": INBOX_CAPACITY, "x-overflow": "drop-head"},
    )
    await queue.bind(exchange, routing_key="#")
    return queue


async def _connect(url: Secret) -> tuple[AbstractConnection, str]:
    """Return a connection, and where it leads. Raises BusUnavailable."""
    try:
        address, named = (url, "its URL") if isinstance(url, str) else (url(), url.named)
    except ConfigurationError as error:
        raise BusUnavailable(str(error)) from None
    place = _place(address)
    try:
        return await aio_pika.connect(address, timeout=CONNECT_SECONDS), place
    except ProbableAuthenticationError:
        what = f"refuses user {_user(address)!r}: wrong password, or no such user; correct {named}"
    except ProtocolSyntaxError:
        # It closes what was not open yet, and the library does not read its reason.
        what = (
            f"refuses user {_user(address)!r}: no such virtual host, or no permissions there; "
            f"grant them, or correct {named}"
        )
    except (*_LOST, ValueError) as error:
        what = f"cannot be reached ({_reason(error)}); start it, or correct {named}"
    message = f"RabbitMQ at {place} {what}"
    raise BusUnavailable(message) from None


async def _close(connection: AbstractConnection) -> None:
    with suppress(*_LOST):
        async with asyncio.timeout(1.0):
            await connection.close()


def _place(url: str) -> str:
    """Return host and port: the part of the URL that may be logged."""
    parts = urlsplit(url)
    with suppress(ValueError):
        if not is_cut(parts):
            return f"{parts.hostname}:{parts.port or 5672}"
    return "a URL that cannot be read (is its password percent-encoded?)"


def _user(url: str) -> str:
    return unquote(urlsplit(url).username or "guest")


def _reason(error: BaseException) -> str:
    match error:
        case ChannelNotFoundEntity():
            # Whoever publishes declares them; subscribers need no right to.
            return "the registry has not declared its exchanges yet"
        case ChannelPreconditionFailed():
            return f"{_said(error)}; delete what somebody has declared otherwise"
        case ChannelClosed() if "ACCESS_REFUSED" in str(error):
            return f"{_said(error)}; grant the permission"
        case TimeoutError():
            return "no answer in time"
        case OSError(args=(int(), str() as words, *_)) if "SSL" in words:
            return f"TLS failed: {words}"
        case OSError(args=(int() as number, *_)) if number in errno.errorcode:
            return os.strerror(number)
        case OSError(args=(int(), str() as words, *_)):
            return words
    return type(error).__name__


def _said(error: BaseException) -> str:
    """Return the broker's words, which name users and exchanges and nothing secret."""
    said = str(error.args[0]).partition(" - ")[2] if error.args else ""
    # Of our queues each has a name of its own; what is wrong is the same with all of them.
    return _OWN_NAME.sub(".*", said) or type(error).__name__
