"""The intake: reads the log and records what is to be sent; one among all notifier processes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from prometheus_client import Counter

from services.notifier.deliveries import Deliveries
from services.notifier.domain import Notification, Occurrence, Rule, notifications_for
from services.notifier.expiries import Expiries, matters
from services.notifier.reminders import Reminders
from services.notifier.undecodable import UndecodableEvents
from shared.bus import follow
from shared.database_words import reason_of
from shared.envelope import Envelope, Undecodable, UndecodableEvent
from shared.failures import TransientFailure
from shared.interruptions import Interruptions
from shared.logs import debug_each, get_logger
from shared.postgres import POSTGRES_ERRORS, Connection, Url, connect
from shared.secret_source import Secret
from shared.sections import Subscription as SubscriptionSettings
from shared.subscription import BEGINNING, Cursor, Feed, Inbox, Subscription
from shared.tracing import OFF, Tracing
from shared.web import background

INTAKE_LOCK = "notifier intake"
ELECTION_SECONDS = 1.0
LOCK_ANSWER_SECONDS = 5.0
QUEUE_PREFIX = "oauthapps.notifier"
log = get_logger(__name__)
T = TypeVar("T")

PARKED = Counter(
    "oauthapps_notifier_undecodable_events_total", "Events parked because they cannot be decoded"
)
_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtext($1))"


class DeliveriesUnavailable(TransientFailure):
    """The notifier's database does not take what was read."""


class Recorder:
    """The subscriber of the log: it keeps the deliveries and the cursor together."""

    def __init__(
        self,
        deliveries: Deliveries,
        expiries: Expiries,
        reminders: Reminders,
        undecodable: UndecodableEvents,
        feed: Feed,
        rules: Callable[[], Sequence[Rule]],
        *,
        max_event_age: timedelta,
        message_id_domain: str,
        on_recorded: Callable[[], None],
        tracing: Tracing = OFF,
    ) -> None:
        self._deliveries = deliveries
        self._expiries = expiries
        self._reminders = reminders
        self._undecodable = undecodable
        self._feed = feed
        self._rules = rules
        self._max_event_age = max_event_age
        self._message_id_domain = message_id_domain
        self._on_recorded = on_recorded
        self._tracing = tracing
        # How far events were told of, and how far they were read for what expires.
        self._told = self._noted = BEGINNING
        self._has_taken_up = False

    async def load_cursor(self) -> Cursor:
        """Return the stored cursor: the one that is behind, where an older version was at work."""
        self._told = await _stored(self._deliveries.cursor())
        if not self._has_taken_up:
            # Not to be waited for: what the log has now goes first, and this is tried again.
            with suppress(TransientFailure, UndecodableEvent):
                await self._take_up()
                self._has_taken_up = True
        self._noted = await _stored(self._expiries.cursor())
        return self._noted

    async def start_over(self, log_epoch: str) -> Cursor:
        """Read another history from its beginning; events known already are not told again."""
        beginning = Cursor(log_epoch, 0)
        # Read for the first time for what expires alone, this history has been told of already.
        if self._told.log_epoch != log_epoch or self._noted.log_epoch == log_epoch:
            await _stored(self._undecodable.start_over(log_epoch))
            await _stored(self._deliveries.move_cursor(beginning))
            self._told = beginning
        await _stored(self._expiries.start_over(log_epoch))
        self._noted = beginning
        return beginning

    async def apply(self, envelopes: Sequence[Envelope], cursor: Cursor) -> None:
        """Record what consecutive events ask for, and what will expire."""
        rules = self._rules()
        told = self._told.position if self._told.log_epoch == cursor.log_epoch else 0
        with self._tracing.each("intake", envelopes, "consumer") as traceparents:
            occurrences = [
                occurrence_of(one, traceparents.get(one.id))
                for one in envelopes
                if one.position > told
            ]
            asked = [
                (one, notification)
                for one in occurrences
                for notification in notifications_for(one, rules)
            ]
            await self._record(
                asked, cursor, lambda connection: self._expiries.note(connection, envelopes, cursor)
            )
            debug_each(log, "event taken in", envelopes)
        self._noted = cursor

    async def park(self, event: Undecodable, cursor: Cursor) -> None:
        """Keep an event that cannot be decoded for a version that can, and go on behind it."""
        is_new = False

        async def keep(connection: Connection) -> None:
            nonlocal is_new
            is_new = await self._undecodable.park(connection, event, cursor)
            await self._expiries.note(connection, (), cursor)

        await self._record((), cursor, keep)
        self._noted = cursor
        if is_new:
            PARKED.inc()
            log.warning(
                "undecodable event parked",
                position=event.position,
                event_id=event.id,
                event_type=event.type,
                reason=event.reason,
            )

    async def _take_up(self) -> None:
        """Tell of the parked events that this version can decode."""
        epoch = self._told.log_epoch
        waiting = await _stored(self._undecodable.positions(epoch))
        while waiting:
            page = await self._feed.read(waiting[0] - 1)
            last = page.entries[-1].position if page.entries else 0
            if page.log_epoch != epoch or last < waiting[0]:
                # Another history: those of this one will be forgotten.
                return
            parked = set(waiting)
            for one in page.entries:
                if isinstance(one, Envelope) and one.position in parked:
                    await self._take_up_one(one)
            waiting = [position for position in waiting if position > last]

    async def _take_up_one(self, envelope: Envelope) -> None:
        async def forget(connection: Connection) -> None:
            place = Cursor(self._told.log_epoch, envelope.position)
            await self._undecodable.remove(connection, place)
            if matters(envelope):
                # What came after it was noted without it: for what expires all is read again.
                await self._expiries.begin_again(connection, place.log_epoch)

        one = occurrence_of(envelope)
        asked = [(one, notification) for notification in notifications_for(one, self._rules())]
        await self._record(asked, self._told, forget)
        log.info("parked event taken up", **envelope.ids)

    async def _record(
        self,
        asked: Sequence[tuple[Occurrence, Notification]],
        cursor: Cursor,
        also: Callable[[Connection], Awaitable[None]],
    ) -> None:
        told = self._told.position if self._told.log_epoch == cursor.log_epoch else 0
        further = Cursor(cursor.log_epoch, max(cursor.position, told))
        await _stored(
            self._deliveries.record(
                asked,
                further,
                oldest=datetime.now(UTC) - self._max_event_age,
                message_id_domain=self._message_id_domain,
                also=also,
            )
        )
        self._told = further
        if asked:
            self._on_recorded()

    async def confirm(self, cursor: Cursor) -> None:  # noqa: ARG002 - its being there is the news
        """Warn of what expires: what has been read is all there is."""
        if await _stored(self._reminders.look(datetime.now(UTC))):
            self._on_recorded()


def occurrence_of(envelope: Envelope, traceparent: str | None = None) -> Occurrence:
    """Return an event as rules see it; with the place where it is told of, if it is traced."""
    return Occurrence(
        id=envelope.id,
        type=envelope.type,
        position=envelope.position,
        stream=envelope.stream,
        time=envelope.time,
        actor=envelope.metadata.actor,
        fact=envelope.event,
        correlation_id=envelope.metadata.correlation_id,
        traceparent=traceparent,
    )


async def _stored(work: Awaitable[T]) -> T:
    try:
        return await work
    except POSTGRES_ERRORS as error:
        raise DeliveriesUnavailable(reason_of(error)) from None


class Intake:
    """Stands for election, and follows the log while it holds the lock."""

    def __init__(
        self,
        dsn: Url,
        recorder: Recorder,
        feed: Feed,
        settings: SubscriptionSettings,
        *,
        bus: Secret | None,
    ) -> None:
        self._dsn = dsn
        self._recorder = recorder
        self._feed = feed
        self._settings = settings
        self._bus = bus
        self._subscription: Subscription | None = None
        self._inbox: Inbox | None = None

    @property
    def trouble(self) -> str | None:
        """Why the log cannot be followed now; None while another process does."""
        return None if self._subscription is None else self._subscription.trouble

    @property
    def bus_trouble(self) -> str | None:
        """Why RabbitMQ does not tell us of events; the feed does meanwhile."""
        return None if self._inbox is None else self._inbox.trouble

    async def run(self) -> None:
        """Wait to be elected, then follow the log; when the lock is lost, stand again."""
        interrupted = Interruptions(log, "intake interrupted", over="intake goes on")
        while True:
            try:
                # Session locks need a connection of their own, which no pool hands around.
                connection = await connect(self._dsn, command_seconds=LOCK_ANSWER_SECONDS)
                try:
                    while not await connection.fetchval(_TRY_LOCK, INTAKE_LOCK):  # noqa: ASYNC110 - a lock tells nobody that it is free
                        await asyncio.sleep(ELECTION_SECONDS)
                    interrupted.over()
                    await self._follow_while_locked(connection)
                finally:
                    connection.terminate()
            except POSTGRES_ERRORS as error:
                interrupted.note(error)
            await asyncio.sleep(ELECTION_SECONDS)

    async def _follow_while_locked(self, connection: Connection) -> None:
        log.info("this process takes events in")
        inbox = None if self._bus is None else Inbox()
        subscription = Subscription(
            self._recorder, self._feed, self._settings, inbox=inbox, park=self._recorder.park
        )
        jobs: list[Awaitable[None]] = [subscription.run()]
        if self._bus is not None and inbox is not None:
            jobs.append(follow(self._bus, QUEUE_PREFIX, inbox, service="notifier"))
        self._subscription, self._inbox = subscription, inbox
        try:
            async with background(*jobs):
                while True:
                    await asyncio.sleep(ELECTION_SECONDS)
                    # The lock lives as long as its session; two intakes at once do no harm, as a
                    # repeated event is recorded once.
                    await connection.execute("SELECT 1")
        finally:
            self._subscription = self._inbox = None
