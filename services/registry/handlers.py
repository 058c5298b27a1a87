"""What is done with a command: load, decide, append. Nothing else happens here."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.registry.domain import (
    Application,
    Change,
    CreateApplication,
    NotCreated,
    State,
    decide,
    fold,
)
from services.registry.ports import Append, NewEvent, Store, Write, WrongExpectedVersion
from shared.events import NO_PRIVATE_DATA, PrivateData

# Another writer may win the race this often before the caller is told.
ATTEMPTS = 5
# For a purpose, such as "client secret", what returns so many random bytes.
Randomness = Callable[[str], Callable[[int], bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Who acts, when, and under which id; made at the edge, once for each request."""

    command_id: str
    actor: str
    now: Callable[[], datetime]
    correlation_id: str | None = None
    # The credential it is done with, if not by a person's own hand: the audit's second question.
    by: str | None = None
    # A retry that carries an Idempotency-Key draws what the first try drew.
    random: Randomness = field(default=lambda _purpose: secrets.token_bytes, repr=False)


async def create_application(
    store: Store, command: CreateApplication, digest: str, context: Context
) -> datetime:
    """Add an application and return when it began.

    Raises InvalidName, NameTaken, OwnerUnavailable, TransientFailure.
    """
    events = decide(command, NotCreated())
    new = tuple(NewEvent(event, PrivateData(secret_digest=digest)) for event in events)
    write = Write(stream=command.application_id, expected_version=0, events=new)
    (stored,) = await store.append(_append(context, write))
    return stored.time


async def change_application(
    store: Store,
    application_id: str,
    command: Change,
    context: Context,
    *,
    expected_version: int | None = None,
    private: PrivateData = NO_PRIVATE_DATA,
) -> None:
    """Change an application; without an expected version, whatever it is by then.

    Raises ApplicationNotFound, InvalidName, NameTaken, OwnerUnavailable, SecretNotFound,
    TooManySecrets, WrongExpectedVersion, TransientFailure.
    """
    for attempt in range(1, ATTEMPTS + 1):
        state, version = await _load(store, application_id)
        if expected_version not in (None, version):
            raise WrongExpectedVersion
        new = tuple(NewEvent(event, private) for event in decide(command, state))
        if not new:
            return
        write = Write(stream=application_id, expected_version=version, events=new)
        try:
            await store.append(_append(context, write))
        except WrongExpectedVersion:
            if expected_version is not None or attempt == ATTEMPTS:
                raise
        else:
            return


async def change_applications(
    store: Store, commands: Mapping[str, Change], context: Context
) -> int:
    """Change several applications in one transaction; return how many had to be changed.

    One that is gone is left out. Raises what `change_application` raises; then nothing changed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        writes = []
        for application_id, command in commands.items():
            state, version = await _load(store, application_id)
            if not isinstance(state, Application):
                continue
            new = tuple(NewEvent(event) for event in decide(command, state))
            if new:
                writes.append(Write(stream=application_id, expected_version=version, events=new))
        if not writes:
            break
        try:
            await store.append(_append(context, *writes))
        except WrongExpectedVersion:
            if attempt == ATTEMPTS:
                raise
        else:
            return len(writes)
    return 0


async def _load(store: Store, application_id: str) -> tuple[State, int]:
    history = await store.load(application_id)
    state = fold((one.event, one.time) for one in history)
    return state, history[-1].version if history else 0


def _append(context: Context, *writes: Write) -> Append:
    return Append(
        command_id=context.command_id,
        actor=context.actor,
        time=context.now(),
        writes=writes,
        correlation_id=context.correlation_id,
        by=context.by,
    )
