"""Clocks that are compared: what is told, with all that a comparison cannot know."""

from email.utils import formatdate

import pytest

from shared import clock_check
from shared.clock_check import TOLERANCE_SECONDS, ClockCheck

NOON = 1_800_000_000.0


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_check, "wall", lambda: NOON)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (NOON, None),
        (NOON - TOLERANCE_SECONDS, None),
        (NOON + TOLERANCE_SECONDS, None),
        (NOON - 3600, "our clock is 3600 s ahead of that of the registry; let both follow NTP"),
        (NOON + 3600, "our clock is 3600 s behind that of the registry; let both follow NTP"),
    ],
)
def test_an_hour_is_told_and_moments_are_not(told: float, expected: str | None) -> None:
    """Which of the two is wrong is not known."""
    check = ClockCheck("the registry")
    check.compare(told, asked_at=NOON)
    assert expected == check.trouble


def test_an_answer_that_took_long_excuses_as_much() -> None:
    """A long poll: the other looked at its clock at any moment since we asked."""
    check = ClockCheck("the registry")
    check.compare(NOON - 50, asked_at=NOON - 60)
    assert check.trouble is None
    check.compare(NOON - 100, asked_at=NOON - 60)
    assert check.trouble is not None


def test_clocks_that_agree_again_end_it() -> None:
    """Nothing has to be restarted when somebody has put one right."""
    check = ClockCheck("the registry")
    check.compare_date(formatdate(NOON - 3600, usegmt=True), asked_at=NOON)
    assert check.trouble == "our clock is 3598 s ahead of that of the registry; let both follow NTP"
    endless = f"Mon, {10**30} Jan 2020 00:00:00 GMT"
    for unreadable in (None, "", "noon", endless):
        check.compare_date(unreadable, asked_at=NOON)
        assert check.trouble is not None
    check.compare_date(formatdate(NOON, usegmt=True), asked_at=NOON)
    assert check.trouble is None
