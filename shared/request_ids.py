"""The id of a request: the caller's `X-Request-Id` or one of ours; in its answer and log lines."""

import os
import re
from collections.abc import Iterable
from contextvars import ContextVar

HEADER = b"x-request-id"
# Neither an address nor a Client Secret: it is kept with the events that follow.
_WELL_FORMED = re.compile(rb"(?!.*oas_)[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.IGNORECASE)
_of_request: ContextVar[str | None] = ContextVar("request_id", default=None)


def current() -> str | None:
    """Return the id of the request that is being answered, if one is."""
    return _of_request.get()


def begin(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the id of a request with these headers; in force until it ends or its task does."""
    given = [value for name, value in headers if name == HEADER]
    if len(given) == 1 and _WELL_FORMED.fullmatch(given[0]):
        request_id = given[0]
    else:
        request_id = os.urandom(12).hex().encode()
    _of_request.set(request_id.decode("ascii"))
    return request_id


def end() -> None:
    """Note that the request was answered."""
    _of_request.set(None)
