"""Spans that are kept here instead of being exported."""

from collections.abc import Iterator
from itertools import count

from shared.traceparent import Place
from shared.tracing import Attributes, Kind, Tracing

_numbers: Iterator[int] = count(1)


class ToldSpan:
    """One span; `error` is the kind of failure."""

    def __init__(
        self, told: list["ToldSpan"], name: str, parent: Place | None, attributes: Attributes
    ) -> None:
        self._told = told
        self.name = name
        self.parent = parent
        trace_id = next(_numbers) if parent is None else parent.trace_id
        self.place = Place(trace_id, next(_numbers))
        self.attributes = dict(attributes)
        self.error: str | None = None
        told.append(self)
        self.has_ended = False

    def child(self, name: str, kind: Kind, attributes: Attributes) -> "ToldSpan":
        """Begin a part of it."""
        return ToldSpan(self._told, name, self.place, attributes)

    def note(self, attributes: Attributes) -> None:
        """Add what became known."""
        self.attributes.update(attributes)

    def rename(self, name: str) -> None:
        """Give it another name."""
        self.name = name

    def fail(self, kind: str) -> None:
        """Mark it as failed."""
        self.error = kind

    def end(self) -> None:
        """End it."""
        self.has_ended = True


class ToldTracing(Tracing):
    """Tracing that keeps what it tells in `told`, as it began."""

    def __init__(self, ratio: float = 1.0) -> None:
        self.told: list[ToldSpan] = []
        super().__init__(
            lambda name, parent, _kind, attributes: ToldSpan(self.told, name, parent, attributes),
            ratio,
        )
