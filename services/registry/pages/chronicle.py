"""The history of an application in words: who did what, when, from the events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from services.registry.directory import Directory
from services.registry.pages.words import moment
from shared.envelope import Envelope
from shared.events import (
    ApplicationActivated,
    ApplicationCreated,
    ApplicationDeactivated,
    ApplicationDeleted,
    ApplicationSecretRevoked,
    ApplicationSecretRotated,
    ApplicationUpdated,
    TokensRevoked,
)

_REASONS = {
    "requested": "Deactivated",
    "owner_disabled": "Deactivated, since the owner was disabled",
    "organization_disabled": "Deactivated, since the organization was disabled",
}
_MEMBERS = {"expires_at": "end", "token_seconds": "lifetime of access tokens"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event: what happened, details, who did it, by which credential, and when."""

    what: str
    details: Sequence[str]
    who: str
    by: str | None
    time: datetime
    position: int


async def chronicle(envelopes: Iterable[Envelope], directory: Directory) -> list[Entry]:
    """Return the entries, the latest first."""
    latest_first = sorted(envelopes, key=lambda one: one.position, reverse=True)
    ids = {
        one.metadata.actor.removeprefix("user:")
        for one in latest_first
        if one.metadata.actor.startswith("user:")
    }
    users = await directory.users_by(ids)
    names = {id_: user.name for id_, user in users.items()}
    return [_entry(one, names) for one in latest_first]


def _entry(envelope: Envelope, names: Mapping[str, str]) -> Entry:
    what, details = _said(envelope)
    by = envelope.metadata.credential
    return Entry(
        what=what,
        details=details,
        who=_who(envelope.metadata.actor, names),
        by=None if by is None else by.removeprefix("client:"),
        time=envelope.time,
        position=envelope.position,
    )


def _who(actor: str, names: Mapping[str, str]) -> str:
    kind, _, name = actor.partition(":")
    match kind:
        case "user":
            return names.get(name, "A user who is not there any more")
        case "cli":
            return f"Command line ({name})"
        case "service":
            return "The system"
    return actor


def _said(envelope: Envelope) -> tuple[str, Sequence[str]]:
    event = envelope.event
    match event:
        case ApplicationCreated():
            details = [f"Name: {event.name}", f"Scopes: {' '.join(event.scopes) or 'none'}"]
            return "Created" if event.active else "Created, not active", details
        case ApplicationUpdated():
            changed = ", ".join(_MEMBERS.get(one, one) for one in event.changed)
            return f"Changed: {changed}", list(_changes(event))
        case ApplicationActivated():
            return "Activated", []
        case ApplicationDeactivated():
            return _REASONS[event.reason], []
        case ApplicationDeleted():
            return "Deleted", []
        case ApplicationSecretRotated():
            return f"Secret replaced by …{event.secret.hint}", [
                f"Others were good until {moment(event.others_expire_at)}"
            ]
        case ApplicationSecretRevoked():
            return "Secret revoked", []
        case TokensRevoked():
            if event.jti is not None:
                return "Access token revoked", [f"By its client; jti {event.jti}"]
            return "Access tokens revoked", [f"Issued before {moment(event.not_before)}"]
        case _:
            assert_never(event)


def _changes(event: ApplicationUpdated) -> Iterable[str]:
    if "name" in event.changed:
        yield f"Name: {event.name}"
    if "description" in event.changed:
        yield f"Description: {event.description or 'none'}"
    if "scopes" in event.changed:
        yield f"Scopes: {' '.join(event.scopes) or 'none'}"
    if "expires_at" in event.changed:
        yield f"End: {'none' if event.expires_at is None else moment(event.expires_at)}"
    if "keys" in event.changed:
        yield f"Keys: {', '.join(one.kid for one in event.keys) or 'none'}"
    if "token_seconds" in event.changed:
        lifetime = "the usual" if event.token_seconds is None else f"{event.token_seconds} s"
        yield f"Lifetime of access tokens: {lifetime}"
