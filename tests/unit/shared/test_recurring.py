"""A trouble that comes again: said once, now and then, and when it is over."""

import pytest

from shared.logs import get_logger
from shared.recurring import AGAIN_SECONDS, Recurring


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def said(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines since the last look, wherever the loggers of this run write them."""
    out, err = capfd.readouterr()
    lines = [*caplog.messages, *out.splitlines(), *err.splitlines()]
    caplog.clear()
    return lines


def test_the_same_reason_is_said_once_and_seldom_after(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Tries come every second; a log that says it every second says nothing else."""
    clock = Clock()
    trouble = Recurring(get_logger("tests"), "work interrupted", over="work goes on", clock=clock)

    for _ in range(5):
        trouble.say("no room")
    assert len(said(caplog, capfd)) == 1

    clock.now = AGAIN_SECONDS
    trouble.say("no room")
    assert len(said(caplog, capfd)) == 1

    trouble.say("no right")
    (line,) = said(caplog, capfd)
    assert "no right" in line


def test_its_end_is_said_once(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """And not where nothing had begun. What begins anew is said anew."""
    trouble = Recurring(get_logger("tests"), "work interrupted", over="work goes on")
    trouble.over()
    assert said(caplog, capfd) == []

    trouble.say("no room")
    trouble.over()
    trouble.over()
    trouble.say("no room")
    lines = said(caplog, capfd)
    assert ["work goes on" in one for one in lines] == [False, True, False]
