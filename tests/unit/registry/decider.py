"""`given(…).when(…).then(…)`: what a command makes of a history."""

from dataclasses import dataclass
from datetime import datetime

from services.registry.domain import Command, RegistryError, State, decide, fold
from shared.events import Event
from tests.unit.registry.factories import MINUTE, NOON


def timed(*events: Event) -> list[tuple[Event, datetime]]:
    """Return a history that began at noon and has an event a minute."""
    return [(event, NOON + MINUTE * index) for index, event in enumerate(events)]


@dataclass(frozen=True)
class Given:
    """What had happened."""

    state: State

    def when(self, command: Command) -> "When":
        """Give a command."""
        try:
            return When(decide(command, self.state))
        except RegistryError as refusal:
            return When(refusal)


@dataclass(frozen=True)
class When:
    """What came of the command."""

    outcome: list[Event] | RegistryError

    def then(self, *events: Event) -> None:
        """Exactly this happens."""
        assert list(events) == self.outcome

    def then_nothing(self) -> None:
        """It had happened already."""
        assert self.outcome == []

    def then_refused(self, kind: type[RegistryError], says: str = "") -> None:
        """It cannot be done, and the refusal says why."""
        assert isinstance(self.outcome, kind)
        assert says in str(self.outcome)


def given(*events: Event) -> Given:
    """Begin with a history, an empty one if there are no events."""
    return Given(fold(timed(*events)))
