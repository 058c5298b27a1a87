"""Durations and numbers in few words."""

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def lasting(seconds: float) -> str:
    """Return a duration such as `12 d`, `3 h`, `5 min`, `0.4 s`."""
    for size, unit in _UNITS:
        if seconds >= 2 * size and size > 1:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def counted(number: int, what: str) -> str:
    """Return `1 event`, `2 events`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
