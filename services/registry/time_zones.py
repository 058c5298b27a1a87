"""The names of time zones (IANA), as the system or the package tzdata has them."""

from functools import cache
from zoneinfo import available_timezones


def is_time_zone(name: str) -> bool:
    """Tell whether it is the name of a time zone, written as the database of them writes it."""
    return name in _names()


@cache
def _names() -> frozenset[str]:
    # Kept: finding them reads hundreds of files.
    return frozenset(available_timezones())
