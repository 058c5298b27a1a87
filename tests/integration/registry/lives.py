"""Random lives of many applications, with every type of event there is, in batches."""

import random
import uuid
from datetime import timedelta
from typing import Any

from services.registry.domain import Application, Deleted, NotCreated, State, evolve
from services.registry.ports import Append
from shared.events import Event, SecretFacts
from tests.integration.registry.house import House, Told, append
from tests.unit.registry.factories import (
    NOON,
    activated,
    deactivated,
    deleted,
    rotated,
    secret_revoked,
    tokens_revoked,
    updated,
)


class Lives:
    """Makes commands that fit what has been commanded before."""

    def __init__(self, house: House, seed: int) -> None:
        self._house = house
        self._random = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._told: dict[str, Told] = {}
        self._states: dict[str, State] = {}
        self._versions: dict[str, int] = {}
        self._minutes = 0

    def next(self) -> Append:
        """Return another command: a creation, or one to three events of an application."""
        self._minutes += 1
        alive = [id_ for id_, one in self._states.items() if isinstance(one, Application)]
        if not alive or self._random.random() < 0.2:
            return self._begin()
        stream = self._random.choice(alive)
        events: list[Event] = []
        for _ in range(self._random.randint(1, 3)):
            state = self._states[stream]
            if isinstance(state, Application):
                event = self._event(self._told[stream], state)
                events.append(event)
                self._states[stream] = evolve(state, event, self._now)
        version = self._versions[stream]
        self._versions[stream] += len(events)
        return append(stream, version, *events, at=timedelta(minutes=self._minutes))

    @property
    def _now(self) -> Any:
        return NOON + timedelta(minutes=self._minutes)

    def _begin(self) -> Append:
        told = self._house.application()
        command = told.creation(
            active=self._random.random() < 0.7,
            scopes=tuple(self._random.sample(["a", "b", "c:d"], self._random.randint(0, 3))),
        )
        self._told[told.id] = told
        self._versions[told.id] = 1
        self._states[told.id] = evolve(NotCreated(), command.writes[0].events[0].event, self._now)
        return command

    def _event(self, told: Told, state: Application) -> Event:
        subject = {**told.subject}
        name = state.name
        choices: list[Event] = [
            updated(f"name {uuid.uuid4()}", **subject),
            activated(name, **subject),
            deactivated(name, reason="owner_disabled", **subject),
            rotated(self._secret(), others_expire_at=self._now + timedelta(hours=1), **subject),
            tokens_revoked(self._now, **subject),
        ]
        if state.secrets:
            one = self._random.choice(sorted(state.secrets))
            choices.append(secret_revoked(one, **subject))
        if self._random.random() < 0.1:
            choices = [deleted(name, **subject)]
        return self._random.choice(choices)

    def _secret(self) -> SecretFacts:
        expires_at = self._random.choice([None, self._now + timedelta(minutes=30)])
        # A second secret of the same minute is still younger.
        self._minutes += 1
        return SecretFacts(
            id=str(uuid.uuid4()), hint="hint", created_at=self._now, expires_at=expires_at
        )

    def ended(self) -> int:
        """Return how many are gone."""
        return sum(isinstance(one, Deleted) for one in self._states.values())
