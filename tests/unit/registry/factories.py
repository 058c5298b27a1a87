"""Commands and events of one application: a test says only what it is about."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.registry.domain import Application, CreateApplication
from shared.events import (
    ApplicationActivated,
    ApplicationCreated,
    ApplicationDeactivated,
    ApplicationDeleted,
    ApplicationSecretRevoked,
    ApplicationSecretRotated,
    ApplicationUpdated,
    DeactivationReason,
    SecretFacts,
    TokensRevoked,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SCOPES = ("applications:read",)
SUBJECT: dict[str, str] = {
    "application_id": "aaaaaaaa-0000-4000-8000-000000000001",
    "client_id": "C" * 32,
    "organization_id": "bbbbbbbb-0000-4000-8000-000000000001",
    "owner_id": "cccccccc-0000-4000-8000-000000000001",
}


def subject(name: str = "CI", **given: str) -> dict[str, str]:
    """Return what every event of one application repeats."""
    return {**SUBJECT, "name": name, **given}


def secret_facts(
    id_: str = "dddddddd-0000-4000-8000-000000000001",
    *,
    created_at: datetime = NOON,
    expires_at: datetime | None = None,
) -> SecretFacts:
    """Return what is known of a secret."""
    return SecretFacts(id=id_, hint="wxyz", created_at=created_at, expires_at=expires_at)


def create(name: str = "CI", *, active: bool = True, **given: Any) -> CreateApplication:
    """Return the command that adds the application."""
    facts: dict[str, Any] = {
        **SUBJECT,
        "scopes": SCOPES,
        "secret": secret_facts(),
        **given,
    }
    return CreateApplication(name=name, active=active, **facts)


def created(name: str = "CI", *, active: bool = True, **given: Any) -> ApplicationCreated:
    """Return the application's first event."""
    facts: dict[str, Any] = {
        "scopes": SCOPES,
        "secret": secret_facts(),
        **subject(name),
        **given,
    }
    return ApplicationCreated(active=active, **facts)


def updated(
    name: str, *, changed: tuple[str, ...] = ("name",), **values: Any
) -> ApplicationUpdated:
    """Return the event of a change; of the name alone, if nothing else is said."""
    return ApplicationUpdated(changed=changed, **{**subject(name), "scopes": SCOPES, **values})


def activated(name: str = "CI", **given: str) -> ApplicationActivated:
    """Return the event of an activation."""
    return ApplicationActivated(**subject(name, **given))


def deactivated(
    name: str = "CI", *, reason: DeactivationReason = "requested", **given: Any
) -> ApplicationDeactivated:
    """Return the event of a deactivation."""
    return ApplicationDeactivated(**subject(name, **given), reason=reason)


def deleted(name: str = "CI", **given: str) -> ApplicationDeleted:
    """Return the event of the end."""
    return ApplicationDeleted(**subject(name, **given))


def rotated(
    secret: SecretFacts, *, others_expire_at: datetime, **given: str
) -> ApplicationSecretRotated:
    """Return the event of a new secret."""
    return ApplicationSecretRotated(
        **subject(**given), secret=secret, others_expire_at=others_expire_at
    )


def secret_revoked(secret_id: str, **given: str) -> ApplicationSecretRevoked:
    """Return the event of a secret's early end."""
    return ApplicationSecretRevoked(**subject(**given), secret_id=secret_id)


def tokens_revoked(not_before: datetime, **given: str) -> TokensRevoked:
    """Return the event that ends older access tokens."""
    return TokensRevoked(
        **subject(**given), not_before=not_before, jti=None, revoked_at=None, token_expires_at=None
    )


def application(**given: Any) -> Application:
    """Return the state after `created()` at noon."""
    facts: dict[str, Any] = {
        **subject(),
        "description": "",
        "active": True,
        "scopes": SCOPES,
        "expires_at": None,
        "secrets": {secret_facts().id: secret_facts()},
        "not_before": None,
        "keys": (),
        "token_seconds": None,
        "revoked": {},
        "created_at": NOON,
        "updated_at": NOON,
        **given,
    }
    return Application(**facts)
