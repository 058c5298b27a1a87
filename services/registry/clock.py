"""The time of commands."""

from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """Return the time of a command."""
    return datetime.now(UTC)


def end_of_second(moment: datetime) -> datetime:
    """Return the next whole second: `iat` counts whole ones, so that of now is not over before."""
    return moment.replace(microsecond=0) + timedelta(seconds=1)
