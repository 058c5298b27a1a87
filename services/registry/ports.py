"""What handlers need of the log, and in which words they ask for it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.registry.domain import RegistryError
from shared.envelope import Envelope
from shared.events import NO_PRIVATE_DATA, Event, PrivateData


class WrongExpectedVersion(RegistryError):
    """Another writer changed the application first."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to be appended."""

    event: Event
    private: PrivateData = NO_PRIVATE_DATA


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Events for one stream; `expected_version` is the last one the writer has seen, or 0."""

    stream: str
    expected_version: int
    events: tuple[NewEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """One command's writes: all of them are stored, or none."""

    command_id: str
    actor: str
    time: datetime
    writes: tuple[Write, ...]
    correlation_id: str | None = None
    by: str | None = None


class Store(Protocol):
    """The log, as handlers need it."""

    async def load(self, stream: str) -> list[Envelope]:
        """Return a stream's events, oldest first."""

    async def append(self, command: Append) -> list[Envelope]:
        """Store a command's events. Raises RegistryError or TransientFailure."""
