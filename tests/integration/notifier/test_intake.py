"""From the log to the deliveries: nothing twice, nothing left out, one intake at a time."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from services.notifier.deliveries import Deliveries, Filter
from services.notifier.expiries import Expiries
from services.notifier.intake import INTAKE_LOCK, DeliveriesUnavailable, Intake, Recorder
from services.notifier.reminders import Reminders
from services.notifier.undecodable import UndecodableEvents
from shared.envelope import Envelope, Page
from shared.postgres import Pool, connect
from shared.sections import Subscription
from shared.subscription import Cursor
from shared.web import background
from tests.integration.notifier.house import DOMAIN, EPOCH
from tests.support.eventually import eventually
from tests.unit.notifier.factories import RULES, application_created, envelope, tokens_revoked

OTHER_EPOCH = "44444444-4444-4444-8444-444444444444"


class Log:
    """A registry's log, as its feed shows it."""

    def __init__(self, *events: Envelope, epoch: str = EPOCH) -> None:
        self.events = list(events)
        self.epoch = epoch
        self.reads = 0

    async def read(self, after: int, *, wait: float = 0.0) -> Page:
        self.reads += 1
        if after >= len(self.events):
            await asyncio.sleep(wait)
        return Page(log_epoch=self.epoch, head=len(self.events), entries=self.events[after:])


def recorder(deliveries: Deliveries, log: Log | None = None) -> Recorder:
    expiries = Expiries(deliveries._pool)
    reminders = Reminders(
        deliveries._pool,
        deliveries,
        expiries,
        lambda: RULES,
        max_event_age=timedelta(days=3),
        message_id_domain=DOMAIN,
    )
    return Recorder(
        deliveries,
        expiries,
        reminders,
        UndecodableEvents(deliveries._pool),
        log or Log(),
        lambda: RULES,
        max_event_age=timedelta(days=3),
        message_id_domain=DOMAIN,
        on_recorded=lambda: None,
    )


def intake(database_url: str, deliveries: Deliveries, log: Log) -> Intake:
    quick = Subscription.model_validate({"long_poll": "10ms", "retry_first": "10ms"})
    return Intake(database_url, recorder(deliveries, log), log, quick, bus=None)


async def count(deliveries: Deliveries) -> int:
    return len(await deliveries.page(Filter(), 100))


async def test_the_same_events_twice_are_told_once(deliveries: Deliveries) -> None:
    """What a redelivery, a second intake and a restored registry have in common."""
    events = [envelope(1, application_created()), envelope(2, application_created())]
    subscriber = recorder(deliveries)
    await subscriber.apply(events, Cursor(EPOCH, 2))
    await subscriber.apply(events, Cursor(EPOCH, 2))

    assert await count(deliveries) == 2


async def test_another_history_tells_only_what_is_new(deliveries: Deliveries) -> None:
    """A backup of the registry is back: its users must not get all their mail again."""
    known, new = envelope(1, application_created()), envelope(2, application_created())
    subscriber = recorder(deliveries)
    await subscriber.apply([known], Cursor(EPOCH, 1))

    beginning = await subscriber.start_over(OTHER_EPOCH)
    await subscriber.apply([known, new], Cursor(OTHER_EPOCH, 2))

    assert beginning == Cursor(OTHER_EPOCH, 0)
    assert await count(deliveries) == 2
    assert await subscriber.load_cursor() == Cursor(OTHER_EPOCH, 2)


async def test_events_without_a_rule_move_the_cursor(deliveries: Deliveries) -> None:
    """They are read, and are not to be read again."""
    subscriber = recorder(deliveries)
    await subscriber.apply([envelope(1, tokens_revoked())], Cursor(EPOCH, 1))

    assert await subscriber.load_cursor() == Cursor(EPOCH, 1)
    assert await count(deliveries) == 0


async def test_old_events_seen_for_the_first_time_are_expired(deliveries: Deliveries) -> None:
    """The notifier's database was lost: mail about last year is not sent now."""
    old = envelope(1, application_created(), time=datetime.now(UTC) - timedelta(days=300))
    subscriber = recorder(deliveries)
    await subscriber.apply([old, envelope(2, application_created())], Cursor(EPOCH, 2))

    states = sorted(row["state"] for row in await deliveries.page(Filter(), 10))
    assert states == ["due", "expired"]


async def test_a_database_that_is_away_is_a_transient_failure(
    deliveries: Deliveries, pool: Pool
) -> None:
    """The subscription tries again; it must not die of it."""
    await pool.close()

    with pytest.raises(DeliveriesUnavailable):
        await recorder(deliveries).load_cursor()


async def test_the_log_is_followed(database_url: str, deliveries: Deliveries) -> None:
    """What is there at the start, and what comes later."""
    log = Log(envelope(1, application_created()))
    async with background(intake(database_url, deliveries, log).run()):
        await eventually(lambda: _counts(deliveries, 1))
        log.events.append(envelope(2, application_created()))
        await eventually(lambda: _counts(deliveries, 2))


async def _counts(deliveries: Deliveries, number: int) -> bool:
    return await count(deliveries) == number


async def test_one_of_two_processes_takes_in_and_the_other_inherits(
    database_url: str, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once would do twice the work; none would be worse."""
    monkeypatch.setattr("services.notifier.intake.ELECTION_SECONDS", 0.05)
    first, second = Log(), Log()
    async with background(intake(database_url, deliveries, second).run()):
        await eventually(lambda: second.reads)
        async with background(intake(database_url, deliveries, first).run()):
            await eventually(lambda: waits_for_the_lock(database_url))
            assert first.reads == 0
    async with background(intake(database_url, deliveries, first).run()):
        await eventually(lambda: first.reads)


async def waits_for_the_lock(database_url: str) -> bool:
    """Tell whether somebody else asked for the lock and did not get it."""
    connection = await connect(database_url)
    try:
        return bool(
            await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query LIKE '%pg_try_advisory_lock%' "
                "AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory') "
                "AND pid <> pg_backend_pid()"
            )
        )
    finally:
        await connection.close()


async def test_an_intake_whose_lock_is_lost_stands_again(
    database_url: str, deliveries: Deliveries, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session ended under it, as at a restart of Postgres."""
    monkeypatch.setattr("services.notifier.intake.ELECTION_SECONDS", 0.05)
    log = Log()
    async with background(intake(database_url, deliveries, log).run()):
        await eventually(lambda: log.reads)
        ended = await pool.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks "
            "WHERE locktype = 'advisory' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        log.events.append(envelope(1, application_created()))
        await eventually(lambda: _counts(deliveries, 1))

    assert ended == 1


async def test_nobody_takes_in_while_another_holds_the_lock(
    database_url: str, deliveries: Deliveries, pool: Pool
) -> None:
    """Also when that other one is of an earlier version."""
    log = Log(envelope(1, application_created()))
    async with pool.acquire() as holder:
        await holder.execute("SELECT pg_advisory_lock(hashtext($1))", INTAKE_LOCK)
        standing = intake(database_url, deliveries, log)
        async with background(standing.run()):
            await eventually(lambda: waits_for_the_lock(database_url))
            assert standing.trouble is None
        await holder.execute("SELECT pg_advisory_unlock_all()")

    assert log.reads == 0
