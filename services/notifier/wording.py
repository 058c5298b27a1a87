"""Filters of templates: dates and numbers as the reader writes them, in the reader's time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale, UnknownLocaleError
from babel.dates import (
    format_date,
    format_time,
    format_timedelta,
    get_datetime_format,
)
from babel.numbers import format_decimal
from jinja2 import pass_context
from jinja2.runtime import Context

# Days stay days, however many: "in 7 days" is easier to act on than "in 1 week".
_NEVER_WEEKS = 10**6


@pass_context
def datetime_filter(context: Context, value: str | datetime) -> str:
    """Return a moment with day, time and time zone."""
    moment, locale = _in_zone(context, value), _locale(context)
    joined = str(get_datetime_format("medium", locale=locale))
    day = format_date(moment, "long", locale=locale)
    hour = format_time(moment, "short", locale=locale)
    return f"{joined.replace('{1}', day).replace('{0}', hour)} {_zone_of(moment, locale)}"


@pass_context
def date_filter(context: Context, value: str | datetime) -> str:
    """Return the day of a moment."""
    return format_date(_in_zone(context, value), "long", locale=_locale(context))


@pass_context
def time_filter(context: Context, value: str | datetime) -> str:
    """Return the time of a moment, without its day."""
    return format_time(_in_zone(context, value), "short", locale=_locale(context))


@pass_context
def number_filter(context: Context, value: float) -> str:
    """Return a number."""
    return format_decimal(value, locale=_locale(context))


@pass_context
def in_days_filter(context: Context, days: int) -> str:
    """Return how far ahead a day is: `in 7 days`, `через 7 днів`."""
    return format_timedelta(
        timedelta(days=days),
        granularity="day",
        threshold=_NEVER_WEEKS,
        add_direction=True,
        locale=_locale(context),
    )


FILTERS: dict[str, Callable[..., Any]] = {
    "datetime": datetime_filter,
    "date": date_filter,
    "time": time_filter,
    "number": number_filter,
    "in_days": in_days_filter,
}


def wording_locale(readers: str, templates: str) -> str:
    """Return the locale to write dates in: the reader's, if the words are in its language.

    A Canadian reads French with Canadian dates; whoever gets English instead of a language that
    nobody translated to gets English dates.
    """
    try:
        parsed = Locale.parse(readers.replace("-", "_"))
    except (ValueError, UnknownLocaleError):
        return templates
    return str(parsed) if parsed.language == Locale.parse(templates).language else templates


def zone_named(name: str) -> ZoneInfo:
    """Return a time zone; UTC for one that this machine does not know."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def _in_zone(context: Context, value: str | datetime) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(zone_named(str(context["time_zone"])))


def _zone_of(moment: datetime, locale: Locale) -> str:
    """Return a time zone's short name where readers have one: `MEZ`, `UTC`; else `GMT+01:00`."""
    if moment.tzname() == "UTC":
        return "UTC"
    name = format_time(moment, "z", locale=locale)
    return name if name[0] not in "+-" else format_time(moment, "ZZZZ", locale=locale)


def _locale(context: Context) -> Locale:
    return Locale.parse(str(context["locale"]))
