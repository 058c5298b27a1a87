"""How events that were stored in an older shape are read: each step a pure function.

A field is added with a default in `shared/events.py`, and that is all. Only what a default cannot
say, a field that is renamed, split or retyped, is a new version of the event's data: its class is
changed, and a function is added here that makes of the old data the new.

    UPCASTERS = {"ApplicationMoved": (_place_from_address,)}    # data of version 1 → version 2

An event has as many versions as functions and one more. Each stored event says which it was
written in, the log is never rewritten, and nothing behind the decoder ever sees an old shape. What
is published bears the version in its type: `.v2`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Takes the data of one version as JSON has it and returns that of the next. It may change and
# return what it was given; it knows no clock and asks nobody.
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
Upcasters = Mapping[str, Sequence[Upcaster]]

UPCASTERS: Upcasters = {}


def version_of(event_type: str, upcasters: Upcasters = UPCASTERS) -> int:
    """Return the version in which events of a type are written now, 1 for the first."""
    return 1 + len(upcasters.get(event_type, ()))
