"""What has an end, and when to warn of it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.notifier.domain import Occurrence, Rule, SecretExpiring
from shared.events import (
    ApplicationCreated,
    ApplicationDeleted,
    ApplicationEvent,
    ApplicationSecretRevoked,
    ApplicationSecretRotated,
    ApplicationUpdated,
    Event,
    SecretFacts,
    subject_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """A secret, or an application, with the end that it was given.

    `told_days` is the fewest days before it that have been told of; None: it was not told of yet.
    """

    id: str
    is_secret: bool
    hint: str
    expires_at: datetime
    known_since: datetime
    told_days: int | None = None
    application_id: str
    client_id: str
    organization_id: str
    owner_id: str
    name: str


def evolve(known: Sequence[Expiry], event: Event, time: datetime) -> tuple[Expiry, ...]:
    """Return what of an application will expire, after an event that happened at a time."""
    match event:
        case ApplicationCreated():
            return (*_of_application(event, time), *_of_secret(event, event.secret, time))
        case ApplicationUpdated():
            kept = tuple(replace(one, name=event.name) for one in known)
            if "expires_at" not in event.changed:
                return kept
            return (*(one for one in kept if one.is_secret), *_of_application(event, time))
        case ApplicationSecretRotated():
            # The earlier secrets have a successor: whoever rotated was told when they end.
            kept = tuple(one for one in known if not one.is_secret)
            return (*kept, *_of_secret(event, event.secret, time))
        case ApplicationSecretRevoked():
            return tuple(one for one in known if one.id != event.secret_id)
        case ApplicationDeleted():
            return ()
        case _:
            return tuple(known)


def _of_application(
    event: ApplicationCreated | ApplicationUpdated, time: datetime
) -> tuple[Expiry, ...]:
    if event.expires_at is None:
        return ()
    return (_given(event, event.application_id, "", event.expires_at, time),)


def _of_secret(
    event: ApplicationCreated | ApplicationSecretRotated, secret: SecretFacts, time: datetime
) -> tuple[Expiry, ...]:
    if secret.expires_at is None:
        return ()
    return (_given(event, secret.id, secret.hint, secret.expires_at, time),)


def _given(event: ApplicationEvent, named: str, hint: str, end: datetime, time: datetime) -> Expiry:
    return Expiry(
        id=named,
        is_secret=named != event.application_id,
        hint=hint,
        expires_at=end,
        known_since=time,
        **subject_of(event),
    )


def days_asked_for(rules: Iterable[Rule]) -> list[int]:
    """Return how many days before an end somebody wants to hear of it, the most first."""
    asked = (one.days_before for one in rules if one.enabled and one.about is SecretExpiring)
    return sorted({days for several in asked for days in several}, reverse=True)


def due_days(one: Expiry, days: Iterable[int], now: datetime) -> list[int]:
    """Return for which of these numbers of days the moment has come, and was not told of yet."""
    return [
        each
        for each in days
        if one.known_since < one.expires_at - timedelta(days=each) <= now < one.expires_at
        and (one.told_days is None or each < one.told_days)
    ]


def warnings_for(
    one: Expiry, rules: Iterable[Rule], now: datetime
) -> list[tuple[Occurrence, Rule]]:
    """Return what is due, with the rule that asked for it.

    After a pause of the service several moments may have come: a rule is told of the last alone.
    """
    found = []
    for rule in rules:
        if not rule.enabled or rule.about is not SecretExpiring:
            continue
        due = due_days(one, rule.days_before, now)
        if due:
            found.append((_warning(one, min(due)), rule))
    return found


def _warning(one: Expiry, days: int) -> Occurrence:
    # An application may be given another end, of which is warned anew; a secret has one for ever.
    end = "" if one.is_secret else f":{one.expires_at.isoformat()}"
    notice = SecretExpiring(
        application_id=one.application_id,
        client_id=one.client_id,
        organization_id=one.organization_id,
        owner_id=one.owner_id,
        name=one.name,
        secret_id=one.id if one.is_secret else None,
        hint=one.hint,
        expires_at=one.expires_at,
        days_before=days,
    )
    return Occurrence(
        # The same for every process and after every restart: a warning is recorded once.
        id=f"{one.id}{end}:{days}d",
        type=SecretExpiring.__name__,
        position=0,
        stream=one.application_id,
        time=one.expires_at - timedelta(days=days),
        actor="",
        fact=notice,
    )
