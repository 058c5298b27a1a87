"""Moments as people and programs write them."""

from datetime import UTC, datetime


def parse_moment(text: str) -> datetime:
    """Return the moment that a text such as 2026-11-30T12:00:00Z names, in UTC. Raises ValueError.

    It names its offset from UTC: a time without one is another moment in every place.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    message = "give a moment such as 2026-11-30T12:00:00Z"
    raise ValueError(message)
