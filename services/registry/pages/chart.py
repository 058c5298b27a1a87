"""The use of an application in the last days, as bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from services.registry.usage import DayOfUse

DAYS = 30
WIDTH, HEIGHT = 600, 120
_GAP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A day: how many tokens, and where its bar stands in a drawing of WIDTH times HEIGHT."""

    date: date
    count: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The bars of all days, the earliest first."""

    bars: Sequence[Bar]
    total: int
    most: int
    width: int = WIDTH
    height: int = HEIGHT


def chart_of(uses: Sequence[DayOfUse], today: date) -> Chart:
    """Return the chart of the days up to today; the secrets of a day are added up."""
    counts = {today - timedelta(days=n): 0 for n in reversed(range(DAYS))}
    for use in uses:
        if use.date in counts:
            counts[use.date] += use.count
    most = max(counts.values())
    step = WIDTH / DAYS
    bars = []
    for n, (day, count) in enumerate(counts.items()):
        # A day with one token among thousands is still to be seen.
        height = max(2.0, count / most * HEIGHT) if count else 0.0
        bars.append(
            Bar(
                date=day,
                count=count,
                x=round(n * step + _GAP / 2, 1),
                y=round(HEIGHT - height, 1),
                width=round(step - _GAP, 1),
                height=round(height, 1),
            )
        )
    return Chart(bars=bars, total=sum(counts.values()), most=most)
