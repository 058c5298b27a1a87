"""Opaque cursors: where a list goes on, good for the query that gave them out and no other."""

import base64
import binascii
import hashlib
from typing import Any, TypeVar

import msgspec

from shared import base64url
from shared.problem import FieldError, Problem

# Items of one page, at most.
PAGE_LIMIT = 200
T = TypeVar("T")


class InvalidCursor(Problem):
    """The cursor is not one that this list gave out."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail, errors=[FieldError(detail, parameter="cursor")])


def cursor_of(query: Any, place: Any) -> str:
    """Return the cursor of a place in the list that a query asks for."""
    raw = msgspec.json.encode([_digest(query), place])
    return base64url.encode(raw).decode()


def place_of(cursor: str, query: Any, kind: type[T]) -> T:
    """Return the place a cursor names. Raises InvalidCursor, also for one of another query."""
    try:
        raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        digest, place = msgspec.json.decode(raw, type=tuple[str, msgspec.Raw])
        found = msgspec.json.decode(place, type=kind)
    except (ValueError, UnicodeEncodeError, binascii.Error, msgspec.MsgspecError):
        raise InvalidCursor("Give a next_cursor of this list, or none.") from None
    if digest != _digest(query):
        raise InvalidCursor("The cursor is from another query: keep filters and sort.")
    return found


def _digest(query: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(query, order="deterministic")).hexdigest()[:16]
