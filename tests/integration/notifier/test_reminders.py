"""Warnings of what expires: kept from the log, told once, and never of what is long settled."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.notifier.app import MIGRATIONS, SCHEMA
from services.notifier.deliveries import Deliveries, Filter
from services.notifier.expiries import Expiries
from services.notifier.reminders import Reminders
from shared.envelope import Envelope
from shared.events import ApplicationSecretRotated, subject_of
from shared.postgres import Pool, connect, create_pool, migrate
from shared.subscription import Cursor
from shared.web import background
from tests.integration.notifier.house import DOMAIN, EPOCH, Directory, sending, settings
from tests.integration.notifier.test_intake import OTHER_EPOCH, Log, intake, recorder
from tests.support.eventually import eventually
from tests.support.smtp_server import SmtpServer
from tests.unit.notifier.factories import RULES, application_created, envelope

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def created(*, ends_in: timedelta, position: int = 1, age: timedelta = 30 * DAY) -> Envelope:
    """Return the event of an application whose secret ends so soon, and was made so long ago."""
    event = application_created()
    secret = replace(event.secret, expires_at=NOW + ends_in)
    return envelope(position, replace(event, secret=secret), time=NOW - age)


def rotation_of(one: Envelope, position: int) -> Envelope:
    event = one.event
    rotated = ApplicationSecretRotated(
        **subject_of(event),
        secret=replace(application_created().secret, id="newer"),
        others_expire_at=NOW + DAY,
    )
    return envelope(position, rotated, time=NOW - 20 * DAY)


def reminders(pool: Pool, deliveries: Deliveries) -> Reminders:
    return Reminders(
        pool,
        deliveries,
        Expiries(pool),
        lambda: RULES,
        max_event_age=3 * DAY,
        message_id_domain=DOMAIN,
    )


async def warnings(deliveries: Deliveries) -> list[tuple[str, str]]:
    """Return event id and state of every warning that was recorded."""
    rows = await deliveries.page(Filter(), 1000)
    return sorted((r["event_id"], r["state"]) for r in rows if r["event_type"] == "SecretExpiring")


async def test_an_owner_is_warned_before_a_secret_expires(
    deliveries: Deliveries, pool: Pool, mail_server: SmtpServer
) -> None:
    """Once for each number of days, whoever looks and however often."""
    one = created(ends_in=7 * DAY)
    await recorder(deliveries).apply([one], Cursor(EPOCH, 1))
    secret = one.event.secret.id  # type: ignore[union-attr]
    first, second = reminders(pool, deliveries), reminders(pool, deliveries)

    assert await first.remind(NOW - timedelta(minutes=1)) == 0
    assert sum(await asyncio.gather(*(each.remind(NOW) for each in (first, second) * 5))) == 1
    assert await warnings(deliveries) == [(f"{secret}:7d", "due")]
    assert await second.remind(NOW + 6 * DAY) == 1
    assert await second.remind(NOW + 7 * DAY) == 0

    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: len(mail_server.taken) == 2)
    assert {str(mail.message["Subject"]) for mail in mail_server.taken} == {
        "Client secret expires in 7 days: CI"
    }


async def test_many_are_warned_by_several_processes_once(
    deliveries: Deliveries, pool: Pool
) -> None:
    """More than one transaction holds."""
    many = [created(ends_in=6 * DAY, position=n) for n in range(1, 451)]
    await recorder(deliveries).apply(many, Cursor(EPOCH, 450))
    lookers = [reminders(pool, deliveries) for _ in range(3)]
    counts = await asyncio.gather(*(one.remind(NOW) for one in lookers))

    assert sum(counts) == 450
    assert len(await warnings(deliveries)) == 450


async def test_a_moment_that_was_missed_for_long_is_not_made_up_for(
    deliveries: Deliveries, pool: Pool
) -> None:
    """Recorded, so that somebody can see it; the next one is sent as usual."""
    one = created(ends_in=3.5 * DAY)
    await recorder(deliveries).apply([one], Cursor(EPOCH, 1))
    looker = reminders(pool, deliveries)
    await looker.remind(NOW)
    await looker.remind(NOW + 3 * DAY)

    assert [state for _, state in await warnings(deliveries)] == ["due", "expired"]


async def test_a_warning_that_waited_beyond_the_end_is_not_sent(
    deliveries: Deliveries, pool: Pool, mail_server: SmtpServer
) -> None:
    """The mail server was away for days: the owner knows by now."""
    one = created(ends_in=timedelta(seconds=1))
    await recorder(deliveries).apply([one], Cursor(EPOCH, 1))
    await reminders(pool, deliveries).remind(NOW)
    await pool.execute(
        """
        UPDATE notifier.deliveries
           SET context = context || jsonb_build_object('expires_at', '2020-01-01T00:00:00+00:00')
         WHERE event_type = 'SecretExpiring'
        """
    )
    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: _states(deliveries, "suppressed"))

    assert mail_server.taken == []


async def _states(deliveries: Deliveries, state: str) -> bool:
    return [one for _, one in await warnings(deliveries)] == [state]


async def test_warnings_are_made_while_the_log_is_followed(
    database_url: str, deliveries: Deliveries
) -> None:
    """Not before its head is reached: the secret of the first page was rotated on the last."""
    old, mine = created(ends_in=6 * DAY), created(ends_in=6 * DAY, position=3)
    log = Log(old, rotation_of(old, 2), mine)
    async with background(intake(database_url, deliveries, log).run()):
        found = await eventually(lambda: warnings(deliveries))

    assert found == [(f"{mine.event.secret.id}:7d", "due")]  # type: ignore[union-attr]


async def test_another_history_has_other_ends(deliveries: Deliveries, pool: Pool) -> None:
    """Of a secret that a restored registry never heard of nobody is warned."""
    subscriber = recorder(deliveries)
    await subscriber.apply([created(ends_in=6 * DAY)], Cursor(EPOCH, 1))
    assert await subscriber.load_cursor() == Cursor(EPOCH, 1)
    await subscriber.start_over(OTHER_EPOCH)
    kept = created(ends_in=6 * DAY)
    await subscriber.apply([kept], Cursor(OTHER_EPOCH, 1))

    await reminders(pool, deliveries).remind(NOW)
    assert len(await warnings(deliveries)) == 1
    assert await deliveries.cursor() == Cursor(OTHER_EPOCH, 1)


@pytest.fixture
def read_by_an_older_version() -> list[Envelope]:
    """A log, whose events are young enough to be told, with a secret that will expire."""
    ending = created(ends_in=6 * DAY, age=2 * DAY + 6 * DAY)
    others = [envelope(n, application_created()) for n in (2, 3)]
    return [ending, *others, rotation_of(others[1], 4)]


async def test_an_upgrade_reads_what_was_read_and_sends_no_mail_for_it(
    database_url: str, read_by_an_older_version: list[Envelope]
) -> None:
    """The version before knew nothing of expiry, and told of new applications alone."""
    log = Log(*read_by_an_older_version)
    await migrate_to(database_url, 2)
    async with await create_pool(database_url, size=4) as pool:
        deliveries = Deliveries(pool)
        await deliveries.move_cursor(Cursor(EPOCH, 4))
        await migrate_to(database_url, len(MIGRATIONS))
        async with background(intake(database_url, deliveries, log).run()):
            await eventually(lambda: warnings(deliveries))
            assert len(await deliveries.page(Filter(), 10)) == 1
            # What comes from now on is told as ever.
            log.events.append(envelope(5, application_created()))
            await eventually(lambda: _counts(deliveries, 2))
        assert await deliveries.cursor() == Cursor(EPOCH, 5)
        assert await Expiries(pool).cursor() == Cursor(EPOCH, 5)


async def test_a_version_that_is_still_running_is_caught_up_with(
    database_url: str, read_by_an_older_version: list[Envelope]
) -> None:
    """During an upgrade it goes on reading after the migration; what it has told is told."""
    await migrate_to(database_url, len(MIGRATIONS))
    async with await create_pool(database_url, size=4) as pool:
        deliveries = Deliveries(pool)
        subscriber = recorder(deliveries)
        await subscriber.apply(read_by_an_older_version[:1], Cursor(EPOCH, 1))
        told = len(await deliveries.page(Filter(), 10))
        # As the other one does it.
        await deliveries.move_cursor(Cursor(EPOCH, 4))

        assert await subscriber.load_cursor() == Cursor(EPOCH, 1)
        await subscriber.apply(read_by_an_older_version[1:], Cursor(EPOCH, 4))
        assert len(await deliveries.page(Filter(), 10)) == told
        assert await subscriber.load_cursor() == Cursor(EPOCH, 4)


async def migrate_to(database_url: str, number: int) -> None:
    connection = await connect(database_url)
    try:
        await migrate(connection, SCHEMA, MIGRATIONS[:number])
    finally:
        await connection.close()


async def _counts(deliveries: Deliveries, number: int) -> bool:
    return len(await deliveries.page(Filter(), 10)) == number
