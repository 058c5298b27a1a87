"""`ETag` and `If-Match`: a change is made to the version the caller has seen (RFC 9110, 13.1.1)."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from services.registry.ports import WrongExpectedVersion
from services.registry.refusals import precondition_failed


def etag(version: int) -> dict[str, str]:
    """Return the header that names a version."""
    return {"ETag": f'"{version}"'}


def if_match(request: Request, version: int) -> int | None:
    """Return the version if `If-Match` names it, or None without one. Raises Problem 412."""
    value = request.headers.get("if-match")
    if value is None or value.strip() == "*":
        return None
    # A weak one too, though RFC 9110 would not have it: proxies that compress make ours weak.
    named = {one.strip().removeprefix("W/") for one in value.split(",")}
    if f'"{version}"' not in named:
        raise precondition_failed()
    return version


@contextmanager
def at_version(expected: int | None) -> Iterator[None]:
    """Answer a lost race for the version of `If-Match` as a precondition that failed."""
    try:
        yield
    except WrongExpectedVersion:
        if expected is None:
            raise
        raise precondition_failed() from None
