"""How pages say times and numbers."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from services.registry.clock import now
from shared.usage import FailureReason

_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))
_DAYS_IN_WORDS = 14


def moment(value: datetime) -> str:
    """Return a time to the minute, in UTC."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def ago(value: datetime | None) -> str:
    """Return how long ago something was, or its date when that is long."""
    if value is None:
        return "never"
    seconds = (now() - value).total_seconds()
    if seconds > _DAYS_IN_WORDS * 86_400:
        return day(value.astimezone(UTC).date())
    for unit, size in _UNITS:
        count = int(seconds // size)
        if count > 0:
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def day(value: date) -> str:
    """Return a date."""
    return value.isoformat()


def number(value: int) -> str:
    """Return a number with a thin space between thousands."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def times(value: int) -> str:
    """Return how often."""
    return {1: "once", 2: "twice"}.get(value, f"{number(value)} times")


def field_of(value: datetime | None) -> str:
    """Return a time as a form's field of type datetime-local takes it, in UTC."""
    return "" if value is None else f"{value.astimezone(UTC):%Y-%m-%dT%H:%M}"


def is_past(value: datetime) -> bool:
    """Tell whether a moment has been."""
    return value <= now()


def span(value: timedelta) -> str:
    """Return how long something takes."""
    seconds = int(value.total_seconds())
    for unit, size in _UNITS:
        if seconds and seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"


_WHY: Mapping[FailureReason, str] = {
    "wrong_secret": "Wrong Client Secret",
    "malformed_secret": "What was sent is no Client Secret of ours",
    "malformed_basic": "Authorization header cannot be read: form-encode Client ID and Secret",
    "expired_secret": "The Client Secret has expired",
    "expired_application": "The application has expired",
    "inactive_application": "The application is not active",
    "bad_assertion": "Assertion is not good: key, times, audience, or used before",
    "unknown_scope": "A scope that the application or the resource does not have",
    "unknown_resource": "A resource that is not known",
    "bad_dpop_proof": "DPoP proof is not good",
}


def why(reason: FailureReason) -> str:
    """Return why a request was refused."""
    return _WHY[reason]


FILTERS: dict[str, Callable[..., Any]] = {
    "moment": moment,
    "ago": ago,
    "day": day,
    "number": number,
    "times": times,
    "span": span,
    "is_past": is_past,
    "why": why,
}
