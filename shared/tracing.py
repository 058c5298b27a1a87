"""Traces: where in one something happens, and what a service tells of it. Off, this does nothing.

A span is begun by a request, or by what carries the place of another one, such as an event; then by
whatever is part of these. What is not sampled has no span, so nobody further on has to decide.
Nothing here knows the library that makes spans: `shared/telemetry.py` does, which is imported where
tracing is on and nowhere else.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    contextmanager,
    nullcontext,
)
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, Protocol

from shared.traceparent import Place, place_of

if TYPE_CHECKING:
    from shared.envelope import Envelope

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int]
# Whoever reads a long log anew would write into traces that nobody has any more.
OLDEST_EVENT = timedelta(days=1)


class Span(Protocol):
    """Something that takes its time, as a part of a trace."""

    @property
    def place(self) -> Place:
        """Return what its parts name as their parent."""

    def child(self, name: str, kind: Kind, attributes: Attributes) -> "Span":
        """Begin a part of it."""

    def note(self, attributes: Attributes) -> None:
        """Add what became known."""

    def rename(self, name: str) -> None:
        """Give it the name that became known."""

    def fail(self, kind: str) -> None:
        """Mark it as failed, by the kind of failure; never by a message."""

    def end(self) -> None:
        """End it."""


_here: ContextVar[Span | None] = ContextVar("span", default=None)


def here() -> Place | None:
    """Return the place of what is being done."""
    span = _here.get()
    return None if span is None else span.place


def traceparent() -> str | None:
    """Return the same as others are told of it."""
    place = here()
    return None if place is None else str(place)


def part(
    name: str, kind: Kind = "internal", attributes: Attributes | None = None
) -> AbstractContextManager[Span | None]:
    """Tell of a part of what is being done, if that is traced."""
    span = _here.get()
    return nullcontext() if span is None else _within(span.child(name, kind, attributes or {}))


def leave() -> None:
    """Be part of nothing, whoever has begun this task."""
    _here.set(None)


def note(attributes: Attributes) -> None:
    """Add to what is told of what is being done."""
    span = _here.get()
    if span is not None:
        span.note(attributes)


@contextmanager
def _within(span: Span) -> Iterator[Span]:
    token = _here.set(span)
    try:
        yield span
    except BaseException as error:
        span.fail(type(error).__name__)
        raise
    finally:
        _here.reset(token)
        span.end()


def about(ids: Attributes) -> Attributes:
    """Return what log lines say of something, as spans say it: apart from OpenTelemetry's names."""
    return {f"oauthapps.{name}": value for name, value in ids.items()}


Begin = Callable[[str, Place | None, Kind, Attributes], Span]


class Tracing:
    """What one service begins of traces."""

    def __init__(self, begin: Begin | None = None, ratio: float = 0.0) -> None:
        self._begin = begin
        self._ratio = ratio

    def exporting(self) -> AbstractAsyncContextManager[None]:
        """Tell others of it as long as the block lasts."""
        return nullcontext()

    @property
    def is_on(self) -> bool:
        """Whether there are traces at all."""
        return self._begin is not None

    def request(
        self, name: str, given: str | None, attributes: Attributes
    ) -> AbstractContextManager[Span | None]:
        """Tell of a request from outside, whose `traceparent` names no more than the trace.

        Neither its flag nor its number decides whether the trace is sampled: strangers choose both,
        and could have us tell of everything.
        """
        if self._begin is None or random.random() >= self._ratio:  # noqa: S311 - not a secret
            return nullcontext()
        return _within(self._begin(name, place_of(given), "server", attributes))

    def following(
        self, name: str, given: str | None, kind: Kind, attributes: Attributes
    ) -> AbstractContextManager[Span | None]:
        """Tell of what follows from a place that one of ours has named, if that is sampled."""
        place = _sampled(given)
        if self._begin is None or place is None:
            return nullcontext()
        return _within(self._begin(name, place, kind, attributes))

    def each(
        self, name: str, envelopes: Sequence["Envelope"], kind: Kind
    ) -> AbstractContextManager[Mapping[str, str]]:
        """Tell of what is done with several events at once, for each that is traced.

        What follows from one of them is told at its place, here by the event's id.
        """
        if self._begin is None:
            return nullcontext({})
        oldest = datetime.now(UTC) - OLDEST_EVENT
        begun = [
            (one, place)
            for one in envelopes
            if (place := _sampled(one.metadata.traceparent)) is not None and one.time > oldest
        ]
        spans = {one.id: self._begin(name, place, kind, about(one.ids)) for one, place in begun}
        return _within_each(spans)


OFF = Tracing()


def _sampled(given: str | None) -> Place | None:
    place = place_of(given)
    return place if place is not None and place.sampled else None


@contextmanager
def _within_each(spans: Mapping[str, Span]) -> Iterator[Mapping[str, str]]:
    # Nearly always it is one event, and then all that is done is done for it.
    token = _here.set(next(iter(spans.values()))) if len(spans) == 1 else None
    try:
        yield {event_id: str(span.place) for event_id, span in spans.items()}
    except BaseException as error:
        for span in spans.values():
            span.fail(type(error).__name__)
        raise
    finally:
        if token is not None:
            _here.reset(token)
        for span in spans.values():
            span.end()
