"""A trouble that comes again: said once, now and then, and when it is over."""

from shared.logs import get_logger
from shared.recurring import AGAIN_SECONDS, Recurring
from tests.support.logged import Logged


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_same_reason_is_said_once_and_seldom_after(logged: Logged) -> None:
    """Tries come every second; a log that says it every second says nothing else."""
    clock = Clock()
    trouble = Recurring(get_logger("tests"), "work interrupted", over="work goes on", clock=clock)

    for _ in range(5):
        trouble.say("no room")
    assert logged.count("work interrupted") == 1

    clock.now = AGAIN_SECONDS
    trouble.say("no room")
    assert logged.count("no room") == 2

    trouble.say("no right")
    assert logged.count("no right") == 1


def test_its_end_is_said_once(logged: Logged) -> None:
    """And not where nothing had begun. What begins anew is said anew."""
    trouble = Recurring(get_logger("tests"), "work interrupted", over="work goes on")
    trouble.over()
    assert logged.count("work goes on") == 0

    trouble.say("no room")
    trouble.over()
    trouble.over()
    assert logged.count("work goes on") == 1
    trouble.say("no room")
    assert logged.count("work interrupted") == 2


def test_its_end_may_be_said_by_others(logged: Logged) -> None:
    """Who knows more of it then; what begins anew is said anew likewise."""
    trouble = Recurring(get_logger("tests"), "work interrupted", over=None)

    for _ in range(2):
        trouble.say("no room")
        trouble.over()
    assert len(logged.lines()) == logged.count("work interrupted") == 2
