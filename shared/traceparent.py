"""Places in traces, as services tell them each other: `traceparent` (W3C Trace Context)."""

import re
from dataclasses import dataclass

# Section 3.2; later versions may have more behind it.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Place:
    """One span of one trace, as others name it."""

    trace_id: int
    span_id: int
    sampled: bool = True

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"


def place_of(traceparent: str | None) -> Place | None:
    """Return the place that a `traceparent` names; None without one that is well-formed."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5] is not None):
        return None
    place = Place(int(found[2], 16), int(found[3], 16), bool(int(found[4], 16) & 1))
    return place if place.trace_id and place.span_id else None
