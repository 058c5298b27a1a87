"""An application's life: what may happen to it, and what it is after what has happened.

`decide` returns events, `evolve` returns state. No input or output, no clock, no randomness.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, auto
from typing import assert_never

from shared.events import (
    ApplicationActivated,
    ApplicationCreated,
    ApplicationDeactivated,
    ApplicationDeleted,
    ApplicationSecretRevoked,
    ApplicationSecretRotated,
    ApplicationUpdated,
    DeactivationReason,
    Event,
    PublicKey,
    SecretFacts,
    TokensRevoked,
    subject_of,
)

NAME_LIMIT = 255
DESCRIPTION_LIMIT = 2000
_CHANGEABLE = ("name", "description", "scopes", "expires_at", "keys", "token_seconds")
# Secrets of one application that are good at the same time: the one in use, and its successor.
LIVE_SECRETS = 2
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
# They reorder what follows, so that a name can look like another one.
_BIDIRECTIONAL_CONTROLS = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


class RegistryError(Exception):
    """The registry refuses the command."""


class InvalidName(RegistryError):
    """The name cannot be used."""


class ApplicationNotFound(RegistryError):
    """There is no such application."""


class InvalidDescription(RegistryError):
    """The description cannot be used."""


class SecretNotFound(RegistryError):
    """The application has no such secret, or has it no more."""


class TooManySecrets(RegistryError):
    """The application has as many secrets as may be good at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateApplication:
    """Add an application. Its Client ID and the facts of its first secret are given."""

    application_id: str
    client_id: str
    organization_id: str
    owner_id: str
    name: str
    active: bool
    scopes: tuple[str, ...]
    secret: SecretFacts
    description: str = ""
    expires_at: datetime | None = None
    keys: tuple[PublicKey, ...] = ()
    token_seconds: int | None = None


class Keep(Enum):
    """What stands for a member that stays as it is, where None has a meaning of its own."""

    KEEP = auto()


KEEP = Keep.KEEP


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateApplication:
    """Change what may be changed later. No `expires_at` (None) is no end.

    No `token_seconds` is the lifetime that all tokens have.
    """

    name: str | Keep = KEEP
    description: str | Keep = KEEP
    scopes: tuple[str, ...] | Keep = KEEP
    expires_at: datetime | Keep | None = KEEP
    active: bool | Keep = KEEP
    keys: tuple[PublicKey, ...] | Keep = KEEP
    token_seconds: int | Keep | None = KEEP


@dataclass(frozen=True, slots=True)
class ActivateApplication:
    """Let an application obtain tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeactivateApplication:
    """Let an application obtain no tokens for now."""

    reason: DeactivationReason = "requested"


@dataclass(frozen=True, slots=True)
class DeleteApplication:
    """Remove an application for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateSecret:
    """Give an application a new secret; the others are good until `others_expire_at` at most."""

    secret: SecretFacts
    others_expire_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeSecret:
    """End one secret now."""

    secret_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeTokens:
    """End the access tokens that were issued before a moment."""

    not_before: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeToken:
    """End one access token, which would have been good until `expires_at`."""

    jti: str
    revoked_at: datetime
    expires_at: datetime


Change = (
    UpdateApplication
    | ActivateApplication
    | DeactivateApplication
    | DeleteApplication
    | RotateSecret
    | RevokeSecret
    | RevokeTokens
    | RevokeToken
)
Command = CreateApplication | Change


@dataclass(frozen=True, slots=True)
class NotCreated:
    """Nothing has happened yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An application that exists."""

    application_id: str
    client_id: str
    organization_id: str
    owner_id: str
    name: str
    description: str
    active: bool
    scopes: tuple[str, ...]
    secrets: Mapping[str, SecretFacts]
    expires_at: datetime | None
    not_before: datetime | None
    created_at: datetime
    updated_at: datetime
    keys: tuple[PublicKey, ...]
    token_seconds: int | None
    # Single access tokens by their `jti`, and until when each would have been good.
    revoked: Mapping[str, datetime]


@dataclass(frozen=True, slots=True)
class Deleted:
    """What is left of an application: the identifiers that its history is found by."""

    application_id: str
    organization_id: str
    owner_id: str


State = NotCreated | Application | Deleted


def decide(command: Command, state: State) -> list[Event]:
    """Return what happens; nothing when it has happened already. Raises RegistryError."""
    if isinstance(command, CreateApplication):
        return _create(command, state)
    if isinstance(state, Deleted) and isinstance(command, DeleteApplication):
        return []
    if not isinstance(state, Application):
        raise ApplicationNotFound
    return _change(command, state)


def _create(command: CreateApplication, state: State) -> list[Event]:
    if not isinstance(state, NotCreated):
        # The stream's name is a fresh random one: only a repeat of the same command comes here.
        return []
    return [
        ApplicationCreated(
            application_id=command.application_id,
            client_id=command.client_id,
            organization_id=command.organization_id,
            owner_id=command.owner_id,
            name=clean_name(command.name),
            active=command.active,
            scopes=command.scopes,
            secret=command.secret,
            description=clean_description(command.description),
            expires_at=command.expires_at,
            keys=command.keys,
            token_seconds=command.token_seconds,
        )
    ]


def _change(command: Change, state: Application) -> list[Event]:
    subject = _subject(state)
    match command:
        case UpdateApplication():
            return _update(command, state)
        case ActivateApplication():
            return [] if state.active else [ApplicationActivated(**subject)]
        case DeactivateApplication():
            stopped = ApplicationDeactivated(**subject, reason=command.reason)
            return [stopped] if state.active else []
        case DeleteApplication():
            return [ApplicationDeleted(**subject)]
        case RotateSecret():
            return [_rotation(command, state)]
        case RevokeSecret():
            if command.secret_id not in state.secrets:
                raise SecretNotFound
            return [ApplicationSecretRevoked(**subject, secret_id=command.secret_id)]
        case RevokeTokens():
            return [
                TokensRevoked(
                    **subject,
                    not_before=command.not_before,
                    jti=None,
                    revoked_at=None,
                    token_expires_at=None,
                )
            ]
        case RevokeToken():
            return _revoke_token(command, state)
        case _:
            assert_never(command)


def _update(command: UpdateApplication, state: Application) -> list[Event]:
    name = state.name if command.name is KEEP else clean_name(command.name)
    description = (
        state.description if command.description is KEEP else clean_description(command.description)
    )
    after = replace(
        state,
        name=name,
        description=description,
        scopes=state.scopes if command.scopes is KEEP else command.scopes,
        expires_at=state.expires_at if command.expires_at is KEEP else command.expires_at,
        keys=state.keys if command.keys is KEEP else command.keys,
        token_seconds=(
            state.token_seconds if command.token_seconds is KEEP else command.token_seconds
        ),
    )
    changed = tuple(one for one in _CHANGEABLE if getattr(after, one) != getattr(state, one))
    events: list[Event] = []
    if changed:
        updated = ApplicationUpdated(
            application_id=after.application_id,
            client_id=after.client_id,
            organization_id=after.organization_id,
            owner_id=after.owner_id,
            name=after.name,
            changed=changed,
            description=after.description,
            scopes=after.scopes,
            expires_at=after.expires_at,
            keys=after.keys,
            token_seconds=after.token_seconds,
        )
        events.append(updated)
    if command.active is not KEEP:
        switch = ActivateApplication() if command.active else DeactivateApplication()
        events += _change(switch, after)
    return events


def _revoke_token(command: RevokeToken, state: Application) -> list[Event]:
    if command.jti in state.revoked or command.expires_at <= command.revoked_at:
        return []
    return [
        TokensRevoked(
            **_subject(state),
            not_before=state.not_before or _BEGINNING,
            jti=command.jti,
            revoked_at=command.revoked_at,
            token_expires_at=command.expires_at,
        )
    ]


def _rotation(command: RotateSecret, state: Application) -> ApplicationSecretRotated:
    others = _living_on(state.secrets, command.others_expire_at, command.secret.created_at)
    if len(others) >= LIVE_SECRETS:
        raise TooManySecrets
    return ApplicationSecretRotated(
        **_subject(state), secret=command.secret, others_expire_at=command.others_expire_at
    )


def _subject(state: Application) -> dict[str, str]:
    return {
        "application_id": state.application_id,
        "client_id": state.client_id,
        "organization_id": state.organization_id,
        "owner_id": state.owner_id,
        "name": state.name,
    }


def evolve(state: State, event: Event, time: datetime) -> State:
    """Return the state after an event that happened at a time."""
    if isinstance(event, ApplicationCreated):
        return Application(
            **subject_of(event),
            active=event.active,
            description=event.description,
            scopes=event.scopes,
            secrets={event.secret.id: event.secret},
            expires_at=event.expires_at,
            not_before=None,
            created_at=time,
            updated_at=time,
            keys=event.keys,
            token_seconds=event.token_seconds,
            revoked={},
        )
    if not isinstance(state, Application):
        # Nothing happens to what does not exist; a log that says otherwise is damaged.
        message = f"{type(event).__name__} in a stream without an application"
        raise TypeError(message)
    state = replace(state, updated_at=time)
    match event:
        case ApplicationUpdated():
            now = {member: getattr(event, member) for member in event.changed}
            return replace(state, **now)
        case ApplicationActivated():
            return replace(state, active=True)
        case ApplicationDeactivated():
            return replace(state, active=False)
        case ApplicationDeleted():
            return Deleted(state.application_id, state.organization_id, state.owner_id)
        case ApplicationSecretRotated():
            others = _living_on(state.secrets, event.others_expire_at, event.secret.created_at)
            return replace(state, secrets={**others, event.secret.id: event.secret})
        case ApplicationSecretRevoked():
            kept = {id_: one for id_, one in state.secrets.items() if id_ != event.secret_id}
            return replace(state, secrets=kept)
        case TokensRevoked():
            return _without_tokens(state, event)
        case _:
            assert_never(event)


def _without_tokens(state: Application, event: TokensRevoked) -> Application:
    if event.jti is None or event.revoked_at is None or event.token_expires_at is None:
        return replace(state, not_before=event.not_before)
    kept = {jti: until for jti, until in state.revoked.items() if until > event.revoked_at}
    return replace(state, revoked={**kept, event.jti: event.token_expires_at})


def fold(history: Iterable[tuple[Event, datetime]]) -> State:
    """Return the state after a whole history."""
    state: State = NotCreated()
    for event, time in history:
        state = evolve(state, event, time)
    return state


def clean_name(name: str) -> str:
    """Return the name without space around it. Raises InvalidName, which says what to do."""
    if any(map(_is_control, name)):
        raise InvalidName("The name must not contain control characters.")
    name = name.strip()
    if all(unicodedata.category(character) in ("Cf", "Zs") for character in name):
        # Empty, or nothing in it but what nobody sees: zero-width spaces and joiners.
        raise InvalidName("This value should not be blank.")
    if len(name) > NAME_LIMIT:
        raise InvalidName(f"The name is too long: {len(name)} of {NAME_LIMIT} characters.")
    return name


def clean_description(description: str) -> str:
    """Return the description without space around it, its lines ending in LF.

    Raises InvalidDescription, which says what to do.
    """
    description = description.replace("\r\n", "\n").strip()
    if any(_is_control(character) for character in description if character not in "\n\t"):
        raise InvalidDescription("The description must not contain control characters.")
    if len(description) > DESCRIPTION_LIMIT:
        length = f"{len(description)} of {DESCRIPTION_LIMIT} characters"
        raise InvalidDescription(f"The description is too long: {length}.")
    return description


def _is_control(character: str) -> bool:
    controls = ("Cc", "Cs", "Zl", "Zp")
    return unicodedata.category(character) in controls or character in _BIDIRECTIONAL_CONTROLS


def _living_on(
    secrets: Mapping[str, SecretFacts], until: datetime, now: datetime
) -> dict[str, SecretFacts]:
    """Return the secrets that live on beside a new one, until a moment; those past it are gone."""
    limits = ((one, min(until, one.expires_at or until)) for one in secrets.values())
    return {one.id: replace(one, expires_at=limit) for one, limit in limits if limit > now}
