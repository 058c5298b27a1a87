"""Events that the notifier cannot decode: parked, passed over, told of by a version that can."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.notifier.deliveries import Deliveries, Filter
from services.notifier.expiries import Expiries
from services.notifier.intake import PARKED
from services.notifier.undecodable import UndecodableEvents
from shared.envelope import Envelope, Page, decode_page, encode_internal
from shared.events import ApplicationSecretRevoked, subject_of
from shared.failures import TransientFailure
from shared.postgres import Pool
from shared.subscription import Cursor
from shared.web import background
from tests.integration.notifier.house import EPOCH
from tests.integration.notifier.test_bus import WatchedLog, following
from tests.integration.notifier.test_cli import Console
from tests.integration.notifier.test_intake import OTHER_EPOCH, intake, recorder
from tests.support.eventually import eventually
from tests.unit.notifier.factories import application_created, envelope


class WireLog(WatchedLog):
    """A registry's log whose pages are read as they come over the wire."""

    is_away = False

    async def read(self, after: int, *, wait: float = 0.0) -> Page:
        if self.is_away:
            raise TransientFailure("feed: no answer")
        page = await super().read(after, wait=wait)
        events = b",".join(map(encode_internal, page.envelopes))
        return decode_page(
            b'{"log_epoch":"%s","head":%d,"events":[%s]}'
            % (page.log_epoch.encode(), page.head, events)
        )


def created(position: int, *, name: str = "CI", time: datetime | None = None) -> Envelope:
    return envelope(position, application_created(name=name), time=time)


def of_a_newer_version(one: Envelope) -> Envelope:
    """Return an event under a name that this version does not know."""
    return replace(one, type="ApplicationEaten")


def with_a_bad_one(*, name: str = "CI") -> WireLog:
    return WireLog(created(1), of_a_newer_version(created(2, name=name)), created(3))


async def told(deliveries: Deliveries) -> list[int]:
    """Return the positions of what somebody is to hear of."""
    return sorted(row["position"] for row in await deliveries.page(Filter(), 100))


async def has_told(deliveries: Deliveries, *positions: int) -> bool:
    return await told(deliveries) == list(positions)


async def parked(pool: Pool) -> list[dict[str, Any]]:
    return await UndecodableEvents(pool).all()


async def test_an_event_that_cannot_be_decoded_is_parked_and_the_stream_goes_on(
    database_url: str, deliveries: Deliveries, pool: Pool
) -> None:
    """By the feed: the owners of all other applications get their mail."""
    log = with_a_bad_one(name="Very Private")
    before = PARKED._value.get()
    reading = intake(database_url, deliveries, log)
    with capture_logs() as logged:
        async with background(reading.run()):
            await eventually(lambda: has_told(deliveries, 1, 3))
            assert reading.trouble is None

    (row,) = await parked(pool)
    bad = log.events[1]
    assert (row["position"], row["event_type"], row["event_id"]) == (2, "ApplicationEaten", bad.id)
    assert (row["application_id"], row["occurred_at"]) == (bad.stream, bad.time)
    assert "'ApplicationEaten' is not known to this version; upgrade it" in row["reason"]
    assert PARKED._value.get() == before + 1
    (said,) = [one for one in logged if one["event"] == "undecodable event parked"]
    assert (said["position"], said["reason"]) == (2, row["reason"])
    assert "Very Private" not in str([row, logged])
    assert await deliveries.cursor() == await Expiries(pool).cursor() == Cursor(EPOCH, 3)


async def test_by_the_bus_it_is_parked_as_soon(
    database_url: str, amqp_url: str, deliveries: Deliveries, pool: Pool
) -> None:
    """A message that cannot be decoded shows the gap by itself; repeated, it is dropped."""
    async with following(database_url, amqp_url, deliveries, WireLog()) as bus:
        (first,) = bus.append("first")
        (bad,) = bus.append("bad")
        bad = bus.log.events[-1] = of_a_newer_version(bad)
        await bus.publish(first, bad)
        await eventually(lambda: parked(pool))
        await bus.publish(bad, *bus.append("second"))
        await eventually(lambda: bus.have_told("first", "second"))
        position = bad.position

    (row,) = await parked(pool)
    assert row["position"] == position


async def test_read_again_it_is_parked_once(
    database_url: str, deliveries: Deliveries, pool: Pool
) -> None:
    """After a restart, also one that lost its cursor: nobody is alarmed twice."""
    log = with_a_bad_one()
    async with background(intake(database_url, deliveries, log).run()):
        await eventually(lambda: has_told(deliveries, 1, 3))
    before, counted = await parked(pool), PARKED._value.get()

    for cursor in (Cursor(EPOCH, 3), Cursor(EPOCH, 0)):
        await deliveries.move_cursor(cursor)
        await Expiries(pool).start_over(EPOCH)
        log.events.append(created(len(log.events) + 1))
        async with background(intake(database_url, deliveries, log).run()):
            await eventually(lambda: _has_read(pool, len(log.events)))

    assert await told(deliveries) == [1, 3, 4, 5]
    assert await parked(pool) == before
    assert PARKED._value.get() == counted


async def test_what_is_parked_and_the_cursor_are_stored_together(
    deliveries: Deliveries, pool: Pool
) -> None:
    """A crash in between would pass over an event that nobody knows of."""
    log = with_a_bad_one()
    subscriber = recorder(deliveries, log)
    await subscriber.start_over(EPOCH)
    (_, bad, _) = (await log.read(0)).entries
    assert not isinstance(bad, Envelope)
    # So that the last statement of the transaction fails.
    await pool.execute("ALTER TABLE notifier.expiry_cursor ADD CHECK (position < 2)")

    with pytest.raises(TransientFailure):
        await subscriber.park(bad, Cursor(EPOCH, 2))

    assert await parked(pool) == []
    assert await deliveries.cursor() == Cursor(EPOCH, 0)


async def test_a_version_that_can_decode_it_tells_of_it(
    database_url: str, deliveries: Deliveries, pool: Pool
) -> None:
    """By itself, once it can reach the registry; nothing else is told again."""
    log = WireLog(
        created(1),
        of_a_newer_version(created(2)),
        of_a_newer_version(created(3, time=datetime.now(UTC) - timedelta(days=30))),
        of_a_newer_version(created(4)),
        created(5),
    )
    async with background(intake(database_url, deliveries, log).run()):
        await eventually(lambda: has_told(deliveries, 1, 5))

    log.events[1:3] = [replace(one, type="ApplicationCreated") for one in log.events[1:3]]
    log.is_away = True
    upgraded = intake(database_url, deliveries, log)
    async with background(upgraded.run()):
        await eventually(lambda: upgraded.trouble)
        log.is_away = False
        await eventually(lambda: has_told(deliveries, 1, 2, 3, 5))
        log.events.append(created(6))
        await eventually(lambda: has_told(deliveries, 1, 2, 3, 5, 6))

    assert [row["position"] for row in await parked(pool)] == [4]
    states = {row["position"]: row["state"] for row in await deliveries.page(Filter(), 10)}
    # As with any event that is read so late, an operator decides.
    assert states == {1: "due", 2: "due", 3: "expired", 5: "due", 6: "due"}


async def test_what_is_told_late_does_not_bring_back_what_has_ended_since(
    database_url: str, deliveries: Deliveries, pool: Pool
) -> None:
    """The secret of a creation that was parked has been revoked: nobody is warned of its end."""
    ends_at = datetime.now(UTC) + timedelta(days=60)
    events = []
    for position in (1, 2):
        event = application_created()
        secret = replace(event.secret, expires_at=ends_at)
        events.append(envelope(position, replace(event, secret=secret)))
    ended, kept = (one.event for one in events)
    revoked = ApplicationSecretRevoked(
        **dict[str, Any](subject_of(ended)),
        secret_id=ended.secret.id,  # type: ignore[union-attr]
    )
    log = WireLog(*map(of_a_newer_version, events), envelope(3, revoked))
    async with background(intake(database_url, deliveries, log).run()):
        await eventually(lambda: _has_read(pool, 3))

    log.events[:2] = events
    async with background(intake(database_url, deliveries, log).run()):
        await eventually(lambda: has_told(deliveries, 1, 2))
        await eventually(lambda: _has_read(pool, 3))

    rows = await pool.fetch("SELECT id FROM notifier.expiries")
    assert [row["id"] for row in rows] == [kept.secret.id]  # type: ignore[union-attr]


async def _has_read(pool: Pool, position: int) -> bool:
    return await Expiries(pool).cursor() == Cursor(EPOCH, position)


async def test_another_history_has_other_gaps(
    database_url: str, deliveries: Deliveries, pool: Pool
) -> None:
    """Where the restored registry has an event that can be decoded, none is missing."""
    log = with_a_bad_one()
    async with background(intake(database_url, deliveries, log).run()):
        await eventually(lambda: has_told(deliveries, 1, 3))
    restored = WireLog(created(1), created(2), epoch=OTHER_EPOCH)
    async with background(intake(database_url, deliveries, restored).run()):
        await eventually(lambda: _count(deliveries, 4))

    assert await parked(pool) == []


async def _count(deliveries: Deliveries, number: int) -> bool:
    return len(await told(deliveries)) == number


async def test_an_operator_sees_what_is_parked(
    tmp_path: Path, database_url: str, deliveries: Deliveries
) -> None:
    """Where, what, when and why: enough to know which version to install."""
    log = with_a_bad_one()
    async with background(intake(database_url, deliveries, log).run()):
        await eventually(lambda: has_told(deliveries, 1, 3))
    console = Console(tmp_path, database_url)

    (row,) = await console.printed("undecodable")
    table = (await console.run("notifications", "undecodable")).stdout

    assert (row["position"], row["event_type"]) == (2, "ApplicationEaten")
    assert row["application_id"] == log.events[1].stream
    for said in ("2", "ApplicationEaten", "upgrade it"):
        assert said in table
