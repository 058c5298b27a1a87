"""Events and people: a test says only what it is about."""

import functools
import uuid
from datetime import UTC, datetime, timedelta

from services.notifier.domain import (
    Context,
    Fact,
    FirstUseFromAddress,
    Occurrence,
    SecretExpiring,
    context_of,
)
from services.notifier.library import Library
from services.notifier.rendering import VARIABLES, Letterhead, Renderer
from services.notifier.rules import parse_rules
from services.notifier.template_files import read_sources
from shared import mail_rules
from shared.envelope import Envelope, Metadata
from shared.events import (
    NO_PRIVATE_DATA,
    ApplicationCreated,
    ApplicationDeactivated,
    ApplicationDeleted,
    ApplicationSecretRotated,
    DeactivationReason,
    Event,
    SecretFacts,
    TokensRevoked,
    subject_of,
)
from shared.feed_client import Recipient

OWNER = "22222222-2222-4222-8222-222222222222"
CLIENT_ID = "c" * 32
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
REGISTRY = "https://registry.example"
RULES = parse_rules(mail_rules.SHIPPED)


@functools.cache
def library() -> Library:
    """Return the templates that we ship."""
    return Library(read_sources(None), VARIABLES)


def renderer(
    *,
    sender_name: str = "OAuth Applications",
    sender_address: str = "oauthapps@example.com",
    templates: Library | None = None,
) -> Renderer:
    """Return what makes mails."""
    letterhead = Letterhead(
        sender_name=sender_name, sender_address=sender_address, registry_url=REGISTRY
    )
    return Renderer(templates or library(), letterhead)


def occurrence(fact: Fact, *, actor: str = "cli:test", time: datetime = NOON) -> Occurrence:
    """Return something that happened, as rules see it."""
    return Occurrence(
        id=str(uuid.uuid4()),
        type=type(fact).__name__,
        position=1,
        stream=fact.application_id,
        time=time,
        actor=actor,
        fact=fact,
    )


def context_for(fact: Fact, *, actor: str = "cli:test", time: datetime = NOON) -> Context:
    """Return a template's data about something that happened."""
    return context_of(occurrence(fact, actor=actor, time=time))


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
    """Return another event."""
    return ApplicationDeleted(**subject_of(application_created()))


def tokens_revoked() -> TokensRevoked:
    """Return an event that has no rule."""
    return TokensRevoked(**subject_of(application_created()), not_before=NOON)


def application_deactivated(reason: DeactivationReason = "requested") -> ApplicationDeactivated:
    """Return an event that has a reason."""
    return ApplicationDeactivated(**subject_of(application_created()), reason=reason)


def secret_rotated() -> ApplicationSecretRotated:
    """Return an event about two secrets, of which the earlier one is good for another day."""
    created = application_created()
    return ApplicationSecretRotated(
        **subject_of(created), secret=created.secret, others_expire_at=NOON + timedelta(days=1)
    )


def secret_expiring(*, days_before: int = 7) -> SecretExpiring:
    """Return a notice."""
    return SecretExpiring(
        **subject_of(application_created()),
        secret_id=str(uuid.uuid4()),
        hint="h1nt",
        expires_at=NOON + timedelta(days=days_before),
        days_before=days_before,
    )


def first_use() -> FirstUseFromAddress:
    """Return the other notice."""
    return FirstUseFromAddress(**subject_of(application_created()), address="203.0.113.7")


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
    time_zone: str = "UTC",
) -> Recipient:
    """Return a person who can be written to."""
    return Recipient(
        id=user_id, email=email, name=name, locale=locale, active=active, time_zone=time_zone
    )
