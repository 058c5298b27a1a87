"""Whether our clock goes with that of somebody we depend on.

Only said, nothing is refused for it: from one comparison nobody knows which of the two is wrong,
and one registry with a wrong clock must not end all tokens.
"""

import time
from email.utils import parsedate_to_datetime

from shared.logs import get_logger
from shared.recurring import Recurring

# As far as a client's clock may be off when its assertion is looked at; an hour by far. Less than
# this a host without NTP reaches in weeks, and no lifetime of ours is so short.
TOLERANCE_SECONDS = 30.0
# A `Date` has whole seconds, and is made anew once a second.
DATE_SECONDS = 2.0
log = get_logger(__name__)


def wall() -> float:
    """Return our time, in seconds since 1970."""
    return time.time()


class ClockCheck:
    """Compares our clock with one other, `whose`, each time that one is told."""

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self._differing = Recurring(log, "clocks differ", over="clocks agree again")
        self.trouble: str | None = None

    def compare(self, told: float, *, asked_at: float, within: float = 0.0) -> None:
        """Take down what we were told just now, having asked at a time of ours.

        The other may have looked at its clock at any moment between, or so many seconds before.
        """
        ahead, behind = asked_at - told - within, told - wall()
        if max(ahead, behind) <= TOLERANCE_SECONDS:
            self.trouble = None
            self._differing.over()
            return
        how = "ahead of" if ahead > behind else "behind"
        seconds = round(max(ahead, behind))
        self.trouble = f"our clock is {seconds} s {how} that of {self._whose}; let both follow NTP"
        # Without the figure, which is another one each time.
        self._differing.say(
            f"our clock is {how} that of {self._whose}; let both follow NTP", seconds=seconds
        )

    def compare_date(self, date: str | None, *, asked_at: float) -> None:
        """Take down the `Date` of an answer, if it has one that can be read."""
        try:
            told = parsedate_to_datetime(date or "").timestamp()
        except (ValueError, OverflowError):
            return
        self.compare(told, asked_at=asked_at, within=DATE_SECONDS)
