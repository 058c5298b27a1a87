"""What is known of ended tokens: what is kept, for how long, and what is judged by it."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from structlog.testing import capture_logs

from shared.envelope import Page
from shared.sections import Subscription as Settings
from shared.subscription import Cursor, Subscription
from shared.web import background
from shared.withdrawals import TokenWithdrawn, Withdrawals, WithdrawalsStale
from tests.integration.shared.told_feed import ToldFeed
from tests.support.eventually import eventually
from tests.unit.shared.factories import undecodable
from tests.unit.token.factories import Application

LIFETIME = timedelta(hours=1)


async def follow_to_head(withdrawals: Withdrawals, feed: ToldFeed) -> None:
    """Take the log from its beginning, as a subscription does."""
    await withdrawals.start_over(feed.epoch)
    cursor = Cursor(feed.epoch, len(feed.envelopes))
    if feed.envelopes:
        await withdrawals.apply(feed.envelopes, cursor)
    else:
        cursor = await withdrawals.load_cursor()
    await withdrawals.confirm(cursor)


def is_withdrawn(withdrawals: Withdrawals, application: Application) -> bool:
    """Tell whether a token of the application, issued just now, is refused."""
    try:
        withdrawals.check(application.client_id, "jti", time.time())
    except TokenWithdrawn:
        return True
    return False


async def test_only_what_can_matter_is_read_and_kept() -> None:
    """What happened longer ago than a token lives is neither read nor remembered."""
    feed = ToldFeed()
    for n in range(500):
        feed.tell(Application().deactivated(), ago=timedelta(hours=501 - n))
    late = Application()
    feed.tell(late.deactivated(), ago=timedelta(minutes=1))
    withdrawals = Withdrawals(feed, lifetime=LIFETIME, max_staleness=LIFETIME)
    cursor = await withdrawals.start_over(feed.epoch)

    assert cursor.position == 500
    assert feed.reads < 15
    await withdrawals.apply(feed.envelopes[500:], cursor)
    await withdrawals.confirm(cursor)
    assert len(withdrawals) == 1
    withdrawals._sweep(time.time() + 2 * LIFETIME.total_seconds())
    assert len(withdrawals) == 0


async def test_what_ends_nothing_is_not_kept() -> None:
    """Most applications are only ever renamed, or were away for a moment; none of it costs room."""
    feed = ToldFeed()
    withdrawals = Withdrawals(feed, lifetime=LIFETIME, max_staleness=LIFETIME)
    one, now = Application(), datetime.now(UTC)
    for told in (
        one.updated(changed=("name",), expires_at=now),
        one.updated(changed=("expires_at",), expires_at=now + 2 * LIFETIME),
        one.deactivated(),
        one.activated(),
    ):
        feed.tell(told)
    cursor = Cursor(feed.epoch, 4)
    await withdrawals.apply(feed.envelopes, cursor)
    await withdrawals.confirm(cursor)

    assert len(withdrawals) == 0
    withdrawals.check(one.client_id, "jti", time.time())


async def test_a_restored_history_is_judged_by_once_it_has_been_read() -> None:
    """Until then by the one before: half a history would let in what was withdrawn."""
    feed, one, other = ToldFeed(), Application(), Application()
    withdrawals = Withdrawals(feed, lifetime=LIFETIME, max_staleness=LIFETIME)
    feed.tell(one.deactivated())
    await follow_to_head(withdrawals, feed)
    assert [is_withdrawn(withdrawals, app) for app in (one, other)] == [True, False]
    feed.restore()
    feed.tell(other.deactivated())
    feed.tell(one.deactivated())
    feed.tell(one.activated())
    begin = await withdrawals.start_over(feed.epoch)
    assert begin == Cursor(feed.epoch, 0)
    await withdrawals.apply(feed.envelopes[:1], Cursor(feed.epoch, 1))
    assert [is_withdrawn(withdrawals, app) for app in (one, other)] == [True, False]
    await withdrawals.apply(feed.envelopes[1:], Cursor(feed.epoch, 3))
    await withdrawals.confirm(Cursor(feed.epoch, 3))

    assert [is_withdrawn(withdrawals, app) for app in (one, other)] == [False, True]


@pytest.mark.parametrize("when_stale", ["refuse", "accept"])
async def test_before_the_log_was_read_for_the_first_time_nothing_is_known(
    when_stale: Literal["refuse", "accept"],
) -> None:
    """However long silence is borne: there has been no news ever."""
    withdrawals = Withdrawals(
        ToldFeed(), lifetime=LIFETIME, max_staleness=LIFETIME, when_stale=when_stale
    )
    if when_stale == "accept":
        withdrawals.check("c" * 32, "jti", time.time())
        return
    with pytest.raises(WithdrawalsStale):
        withdrawals.check("c" * 32, "jti", time.time())


async def test_an_api_that_has_heard_nothing_for_long_says_so_once() -> None:
    """And what it does with tokens; and when that is over."""
    feed = ToldFeed()
    withdrawals = Withdrawals(feed, lifetime=LIFETIME, max_staleness=LIFETIME, when_stale="accept")
    with capture_logs() as logged:
        for _ in range(3):
            withdrawals.check("c" * 32, "jti", time.time())
    assert [one["log_level"] for one in logged] == ["warning"]
    assert logged[0]["tokens"] == "accepted by their signature"
    await follow_to_head(withdrawals, feed)
    with capture_logs() as logged:
        for _ in range(3):
            withdrawals.check("c" * 32, "jti", time.time())
    assert [one["event"] for one in logged] == ["withdrawals are known again"]


class PartlyToldFeed(ToldFeed):
    """A log with an event of a newer version."""

    def __init__(self, bad: int) -> None:
        super().__init__()
        self.bad: int | None = bad

    async def read(self, after: int, *, wait: float = 0.0) -> Page:
        page = await super().read(after, wait=wait)
        entries = [
            replace(undecodable(one.position), time=one.time) if one.position == self.bad else one
            for one in page.envelopes
        ]
        return Page(log_epoch=page.log_epoch, head=page.head, entries=entries)


async def test_what_cannot_be_decoded_may_be_a_withdrawal() -> None:
    """Nothing is known until it is, so tokens are refused; as if there had been no news."""
    feed, one, other = PartlyToldFeed(bad=2), Application(), Application()
    for told in (one.deactivated(), one.activated(), other.deactivated()):
        feed.tell(told)
    withdrawals = Withdrawals(feed, lifetime=LIFETIME, max_staleness=LIFETIME)
    following = Subscription(withdrawals, feed, Settings(long_poll=timedelta(seconds=1)))
    async with background(following.run()):
        await eventually(lambda: "position 2: " in str(following.trouble))
        with pytest.raises(WithdrawalsStale):
            withdrawals.check(one.client_id, "jti", time.time())

        feed.bad = None
        await withdrawals.known(10)
        assert [is_withdrawn(withdrawals, app) for app in (one, other)] == [False, True]


async def test_what_cannot_be_decoded_and_is_long_past_is_not_read() -> None:
    """It can have left no token that is still good."""
    feed, late = PartlyToldFeed(bad=3), Application()
    for n in range(8):
        feed.tell(Application().deactivated(), ago=timedelta(hours=20 - n))
    feed.tell(late.deactivated())
    withdrawals = Withdrawals(feed, lifetime=LIFETIME, max_staleness=LIFETIME)
    following = Subscription(withdrawals, feed, Settings(long_poll=timedelta(seconds=1)))
    async with background(following.run()):
        await withdrawals.known(10)

    assert is_withdrawn(withdrawals, late)
