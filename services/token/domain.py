"""What an event means to a client. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import assert_never

from shared.clients import ClientRecord, RevokedToken, SecretRecord
from shared.events import (
    ApplicationActivated,
    ApplicationCreated,
    ApplicationDeactivated,
    ApplicationDeleted,
    ApplicationSecretRevoked,
    ApplicationSecretRotated,
    ApplicationUpdated,
    Event,
    PrivateData,
    SecretFacts,
    TokensRevoked,
)


def evolve(record: ClientRecord | None, event: Event, private: PrivateData) -> ClientRecord | None:
    """Return the client after an event; None when there is none (any more)."""
    if record is None:
        # Of a client that is gone, or never was, only its creation can say anything.
        return _created(event, private) if isinstance(event, ApplicationCreated) else None
    after: ClientRecord | None
    match event:
        case ApplicationCreated():
            after = _created(event, private)
        case ApplicationUpdated():
            after = _updated(record, event)
        case ApplicationActivated():
            after = record.__replace__(active=True)
        case ApplicationDeactivated():
            after = record.__replace__(active=False)
        case ApplicationDeleted():
            after = None
        case ApplicationSecretRotated():
            others = _living_on(record.secrets, event.others_expire_at, now=event.secret.created_at)
            after = record.__replace__(secrets=(*others, _secret(event.secret, private)))
        case ApplicationSecretRevoked():
            kept = tuple(one for one in record.secrets if one.id != event.secret_id)
            after = record.__replace__(secrets=kept)
        case TokensRevoked():
            after = _revoked(record, event)
        case _:
            assert_never(event)
    return after


def _created(event: ApplicationCreated, private: PrivateData) -> ClientRecord:
    return ClientRecord(
        client_id=event.client_id,
        application_id=event.application_id,
        organization_id=event.organization_id,
        owner_id=event.owner_id,
        active=event.active,
        scopes=event.scopes,
        secrets=(_secret(event.secret, private),),
        expires_at=event.expires_at,
        keys=event.keys,
        token_seconds=event.token_seconds,
    )


def _updated(record: ClientRecord, event: ApplicationUpdated) -> ClientRecord:
    for member in ("scopes", "expires_at", "keys", "token_seconds"):
        if member in event.changed:
            record = record.__replace__(**{member: getattr(event, member)})
    return record


def _revoked(record: ClientRecord, event: TokensRevoked) -> ClientRecord:
    if event.jti is None or event.revoked_at is None or event.token_expires_at is None:
        return record.__replace__(not_before=event.not_before)
    kept = tuple(one for one in record.revoked if one.expires_at > event.revoked_at)
    token = RevokedToken(jti=event.jti, expires_at=event.token_expires_at)
    return record.__replace__(revoked=(*kept, token))


def _secret(facts: SecretFacts, private: PrivateData) -> SecretRecord:
    # A blanked digest matches nothing: the secret is known and cannot be used.
    return SecretRecord(
        id=facts.id, digest=private.secret_digest or "", expires_at=facts.expires_at
    )


def _living_on(
    secrets: Sequence[SecretRecord], until: datetime, *, now: datetime
) -> tuple[SecretRecord, ...]:
    """Return the secrets that live on beside a new one, until a moment; those past it are gone."""
    limits = ((one, min(until, one.expires_at or until)) for one in secrets)
    return tuple(one.__replace__(expires_at=limit) for one, limit in limits if limit > now)
