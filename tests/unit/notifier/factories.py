"""Events and people: a test says only what it is about."""

import uuid
from datetime import UTC, datetime

from shared.envelope import Envelope, Metadata
from shared.events import (
    NO_PRIVATE_DATA,
    ApplicationCreated,
    ApplicationDeleted,
    Event,
    SecretFacts,
)
from shared.feed_client import Recipient

OWNER = "22222222-2222-4222-8222-222222222222"
CLIENT_ID = "c" * 32
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def application_created(*, name: str = "CI", owner: str = OWNER) -> ApplicationCreated:
    """Return the event that has a rule."""
    return ApplicationCreated(
        application_id=str(uuid.uuid4()),
        client_id=CLIENT_ID,
        organization_id=str(uuid.uuid4()),
        owner_id=owner,
        name=name,
        secret=SecretFacts(id=str(uuid.uuid4()), hint="h1nt", created_at=NOON),
    )


def application_deleted() -> ApplicationDeleted:
    """Return an event that has no rule."""
    created = application_created()
    return ApplicationDeleted(
        application_id=created.application_id,
        client_id=created.client_id,
        organization_id=created.organization_id,
        owner_id=created.owner_id,
        name=created.name,
    )


def envelope(position: int, event: Event, *, time: datetime | None = None) -> Envelope:
    """Return an event at its place in the log; it happened just now unless said otherwise."""
    return Envelope(
        position=position,
        id=str(uuid.uuid4()),
        stream=event.application_id,
        version=1,
        type=type(event).__name__,
        time=time or datetime.now(UTC),
        event=event,
        private=NO_PRIVATE_DATA,
        metadata=Metadata(command_id=str(uuid.uuid4()), actor="cli:test"),
    )


def recipient(
    *,
    user_id: str = OWNER,
    email: str = "ada@example.com",
    name: str = "Ada",
    locale: str = "en",
    active: bool = True,
) -> Recipient:
    """Return a person who can be written to."""
    return Recipient(id=user_id, email=email, name=name, locale=locale, active=active)
