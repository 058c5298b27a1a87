"""The public feed as Server-Sent Events: one connection instead of many polls (WHATWG HTML, 9.2).

A stream holds no database connection while it waits, reads the next page only when the one before
was taken, and ends with the permission that opened it.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request

from services.registry.feed import Feed
from shared.envelope import Envelope, encode_json, to_cloudevent
from shared.failures import TransientFailure
from shared.logs import get_logger
from shared.postgres import POSTGRES_ERRORS
from shared.problem import Problem
from shared.queries import LOG_LIMIT

MEDIA_TYPE = "text/event-stream"
LAST_EVENT_ID = "Last-Event-ID"
PAGE = 100
# A comment after so much silence keeps proxies from closing; the permission is looked at again.
HEARTBEAT_SECONDS = 15.0
RETRY_MILLISECONDS = 1000
# A process serves no more at once.
STREAMS = 200
log = get_logger(__name__)
Allowed = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Place:
    """Behind which event to go on, and in which history, if that is known."""

    position: int
    log_epoch: str | None = None


def wants_stream(request: Request) -> bool:
    """Tell whether an event stream is asked for."""
    accepted = request.headers.get("accept", "").lower().split(",")
    return any(one.partition(";")[0].strip() == MEDIA_TYPE for one in accepted)


def last_event_id(request: Request) -> Place | None:
    """Return the place that `Last-Event-ID` names, or None. Raises Problem 400."""
    text = request.headers.get(LAST_EVENT_ID, "").strip()
    if not text:
        return None
    epoch, _, position = text.partition(":")
    try:
        place = Place(int(position), str(uuid.UUID(epoch)))
    except ValueError:
        place = Place(-1)
    if not (0 <= place.position <= LOG_LIMIT and position.isascii() and position.isdigit()):
        detail = f"Give the id of an event of this stream as {LAST_EVENT_ID}, or none."
        raise Problem(400, detail)
    return place


class EventStreams:
    """The open streams of this process."""

    def __init__(self, feed: Feed, *, source: str, stopping: asyncio.Event) -> None:
        self._feed = feed
        self._source = source
        self._stopping = stopping
        self._open = 0

    async def open(self, place: Place, allowed: Allowed) -> AsyncIterator[bytes]:
        """Return the bytes of a stream; `allowed` raises Problem when it must end.

        Raises Problem 503 when too many are open, and 409 for a place of another history.
        """
        if self._open >= STREAMS:
            raise Problem(
                503, "Too many streams are open; try again later.", headers={"Retry-After": "5"}
            )
        page = await self._feed.page(place.position, 1, 0)
        if page.head < place.position or place.log_epoch not in (None, page.log_epoch):
            raise Problem(
                409,
                "The log is another history than the one you followed: forget what you derived "
                "from it, and begin after 0, without Last-Event-ID.",
            )
        return self._stream(Place(place.position, page.log_epoch), allowed)

    async def _stream(self, place: Place, allowed: Allowed) -> AsyncIterator[bytes]:
        if self._open >= STREAMS:
            # Several were opened at once: those that are too many come again, and are told.
            return
        self._open += 1
        try:
            yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
            after = place.position
            while not self._stopping.is_set():
                page = await self._feed.page(after, PAGE, HEARTBEAT_SECONDS)
                await allowed()
                if page.log_epoch != place.log_epoch:
                    # Whoever comes again is told.
                    return
                for envelope in page.envelopes:
                    yield self._event(envelope, page.log_epoch)
                    after = envelope.position
                if not page.envelopes:
                    yield b": still here\n\n"
        except (Problem, TransientFailure, *POSTGRES_ERRORS) as error:
            # Whoever is still allowed comes again, and goes on where this one ends.
            log.info("event stream ended", reason=type(error).__name__)
        finally:
            self._open -= 1

    def _event(self, envelope: Envelope, log_epoch: str) -> bytes:
        event = to_cloudevent(envelope, log_epoch=log_epoch, source=self._source)
        head = f"id: {log_epoch}:{envelope.position}\nevent: {event['type']}\n"
        # JSON has no line breaks of its own.
        return head.encode() + b"data: " + encode_json(event) + b"\n\n"
