"""Traces: where in one something happens, and what a service tells of it. Off, this does nothing.

A span is begun by a request, or by what carries the place of another one, such as an event; then by
whatever is part of these. What is not sampled has no span, so nobody further on has to decide.
Nothing here knows the library that makes spans: `shared/telemetry.py` does, which is imported where
tracing is on and nowhere else.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

from shared.config import ConfigurationError, Settings, secret

if TYPE_CHECKING:
    from shared.envelope import Envelope

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int]
# Whoever reads a long log anew would write into traces that nobody has any more.
OLDEST_EVENT = timedelta(days=1)
_HEADER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([ -~]+)")
# W3C Trace Context, section 3.2; later versions may have more behind it.
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


Begin = Callable[[str, Place | None, Kind, Attributes], Span]


class Tracing:
    """What one service begins of traces, as long as its block lasts."""

    def __init__(self, begin: Begin | None = None, ratio: float = 0.0) -> None:
        self._begin = begin
        self._ratio = ratio

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Hold nothing."""

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
        place = place_of(given)
        if self._begin is None or place is None or not place.sampled:
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
            if (place := place_of(one.metadata.traceparent)) is not None and one.time > oldest
        ]
        spans = {one.id: self._begin(name, place, kind, _about(one)) for one, place in begun}
        return _within_each(spans)


OFF = Tracing()


def tracing_of(settings: Settings, service: str) -> Tracing:
    """Return what a service tells of traces. Raises ConfigurationError."""
    wanted = settings.telemetry
    if wanted.otlp_endpoint is None:
        return OFF
    headers = _headers(secret(wanted.otlp_headers, wanted.otlp_headers_file) or "")
    # Whoever wants no traces pays nothing for them: this is a tenth of a second and 10 MB.
    from shared.telemetry import Telemetry  # noqa: PLC0415

    url = f"{wanted.otlp_endpoint}/v1/traces"
    return Telemetry(url, headers, service=service, ratio=wanted.sampling_ratio)


def _headers(text: str) -> dict[str, str]:
    """Return the headers that stand there, one in a line."""
    headers = {}
    for number, line in enumerate(text.splitlines(), 1):
        found = _HEADER.fullmatch(line.strip())
        if found is None:
            message = f"telemetry.otlp_headers: line {number} is no header such as Name: value"
            raise ConfigurationError(message)
        headers[found[1]] = found[2]
    return headers


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


def _about(envelope: "Envelope") -> Attributes:
    return {f"oauthapps.{name}": value for name, value in envelope.ids.items()}
