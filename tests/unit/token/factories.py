"""Clients, events and envelopes: a test says only what it is about."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.token.domain import evolve
from shared.clients import ClientRecord, SecretRecord
from shared.credentials import digest_of, new_client_id, new_client_secret
from shared.envelope import Envelope, Metadata
from shared.events import (
    NO_PRIVATE_DATA,
    ApplicationActivated,
    ApplicationCreated,
    ApplicationDeactivated,
    ApplicationDeleted,
    ApplicationEvent,
    ApplicationSecretRevoked,
    ApplicationSecretRotated,
    ApplicationUpdated,
    Event,
    PrivateData,
    SecretFacts,
    TokensRevoked,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def secret_facts(secret_id: str = "s1", *, expires_at: datetime | None = None) -> SecretFacts:
    """Return what is known of a secret."""
    return SecretFacts(id=secret_id, hint="abcd", created_at=NOON, expires_at=expires_at)


@dataclass
class Application:
    """An application whose life a test tells: each method returns an event and its private part."""

    client_id: str = field(default_factory=new_client_id)
    secret: str = field(default_factory=new_client_secret)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    organization_id: str = "11111111-1111-4111-8111-111111111111"
    owner_id: str = "22222222-2222-4222-8222-222222222222"
    scopes: tuple[str, ...] = ("applications:read",)

    def _says(self, kind: type[ApplicationEvent], **facts: Any) -> Any:
        return kind(
            application_id=self.id,
            client_id=self.client_id,
            organization_id=self.organization_id,
            owner_id=self.owner_id,
            name="CI",
            **facts,
        )

    def created(
        self, *, active: bool = True, expires_at: datetime | None = None, **more: Any
    ) -> tuple[Event, PrivateData]:
        event = self._says(
            ApplicationCreated,
            active=active,
            scopes=self.scopes,
            secret=secret_facts(expires_at=expires_at),
            **more,
        )
        return event, PrivateData(secret_digest=digest_of(self.secret))

    def rotated(
        self, new_secret: str, *, others_expire_at: datetime, secret_id: str = "s2"
    ) -> tuple[Event, PrivateData]:
        event = self._says(
            ApplicationSecretRotated,
            secret=secret_facts(secret_id),
            others_expire_at=others_expire_at,
        )
        return event, PrivateData(secret_digest=digest_of(new_secret))

    def secret_revoked(self, secret_id: str) -> tuple[Event, PrivateData]:
        return self._says(ApplicationSecretRevoked, secret_id=secret_id), NO_PRIVATE_DATA

    def tokens_revoked(self, not_before: datetime, **facts: Any) -> tuple[Event, PrivateData]:
        return self._says(TokensRevoked, not_before=not_before, **facts), NO_PRIVATE_DATA

    def deactivated(self) -> tuple[Event, PrivateData]:
        return self._says(ApplicationDeactivated), NO_PRIVATE_DATA

    def activated(self) -> tuple[Event, PrivateData]:
        return self._says(ApplicationActivated), NO_PRIVATE_DATA

    def deleted(self) -> tuple[Event, PrivateData]:
        return self._says(ApplicationDeleted), NO_PRIVATE_DATA

    def updated(self, **facts: Any) -> tuple[Event, PrivateData]:
        return self._says(ApplicationUpdated, **facts), NO_PRIVATE_DATA


def client_record(
    application: Application,
    *,
    active: bool = True,
    expires_at: datetime | None = None,
    secrets: Sequence[SecretRecord] | None = None,
) -> ClientRecord:
    """Return the record of an application that has one secret, or the given ones."""
    own = SecretRecord(id="s1", digest=digest_of(application.secret), expires_at=expires_at)
    return ClientRecord(
        client_id=application.client_id,
        application_id=application.id,
        organization_id=application.organization_id,
        owner_id=application.owner_id,
        active=active,
        scopes=application.scopes,
        secrets=tuple(secrets) if secrets is not None else (own,),
    )


def envelope(position: int, told: tuple[Event, PrivateData]) -> Envelope:
    """Return an event at its place in the log."""
    event, private = told
    return Envelope(
        position=position,
        id=str(uuid.uuid4()),
        stream=event.application_id,
        version=position,
        type=type(event).__name__,
        time=NOON,
        event=event,
        private=private,
        metadata=Metadata(command_id=str(uuid.uuid4()), actor="cli:test"),
    )


def fold(envelopes: Sequence[Envelope]) -> list[ClientRecord]:
    """Return the clients after these events, ordered as a snapshot has them."""
    clients: dict[str, ClientRecord | None] = {}
    for one in envelopes:
        client_id = one.event.client_id
        clients[client_id] = evolve(clients.get(client_id), one.event, one.private)
    return [found for _, found in sorted(clients.items()) if found is not None]
