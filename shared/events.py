"""The catalogue of facts: every event that is, or ever was, written to the log.

An event is a frozen dataclass in the past tense. Each one names the application, its client, its
owner and its organization by identifier, so that a subscriber understands it without a look-up,
and none carries a person's name, an e-mail address or a secret: events are public once published.

Fields may be added with a default. None is renamed, retyped or removed without a function in
`shared/upcasters.py`, since old events are decoded by new code for as long as the log lives.
"""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, get_args

DeactivationReason = Literal["requested", "owner_disabled", "organization_disabled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFacts:
    """What may be known about a client secret: everything but the secret and its digest."""

    id: str
    hint: str
    created_at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A key that an application signs assertions with, as a JWK (RFC 7517): its public half."""

    kty: str
    kid: str
    alg: str
    n: str | None = None
    e: str | None = None
    crv: str | None = None
    x: str | None = None
    y: str | None = None

    @property
    def jwk(self) -> dict[str, str]:
        """The members that it has."""
        members = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: value for name, value in members if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationEvent:
    """What every event of an application's stream says."""

    application_id: str
    client_id: str
    organization_id: str
    owner_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationCreated(ApplicationEvent):
    """An application was added and may obtain tokens, if it is active, until `expires_at`."""

    active: bool = True
    scopes: tuple[str, ...] = ()
    secret: SecretFacts
    description: str = ""
    expires_at: datetime | None = None
    keys: tuple[PublicKey, ...] = ()
    token_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationUpdated(ApplicationEvent):
    """The application is another; `changed` names the members that differ from before.

    All of them stand here as they are now, the name among what every event carries. An event
    without `changed` is from a time when only the name could change, and says nothing of the rest.
    """

    changed: tuple[str, ...] = ("name",)
    description: str = ""
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    keys: tuple[PublicKey, ...] = ()
    token_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationActivated(ApplicationEvent):
    """The application may obtain tokens again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationDeactivated(ApplicationEvent):
    """The application can obtain no token until it is activated."""

    reason: DeactivationReason = "requested"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationDeleted(ApplicationEvent):
    """The application is gone for good; its Client ID is never given out again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationSecretRotated(ApplicationEvent):
    """The application has a new secret; the others live on until `others_expire_at`."""

    secret: SecretFacts
    others_expire_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationSecretRevoked(ApplicationEvent):
    """One secret stopped working before its time."""

    secret_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensRevoked(ApplicationEvent):
    """Access tokens issued to the client must be refused.

    All that were issued before `not_before`; and the one with this `jti`, if one is named, revoked
    at `revoked_at`, which would have been good until `token_expires_at`. With a `jti` the other
    moment is the one that was in force, or the beginning of 1970.
    """

    not_before: datetime
    jti: str | None = None
    revoked_at: datetime | None = None
    token_expires_at: datetime | None = None


Event = (
    ApplicationCreated
    | ApplicationUpdated
    | ApplicationActivated
    | ApplicationDeactivated
    | ApplicationDeleted
    | ApplicationSecretRotated
    | ApplicationSecretRevoked
    | TokensRevoked
)

EVENT_TYPES: dict[str, type[Event]] = {event.__name__: event for event in get_args(Event)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateData:
    """The part of an event that is for the token service only, and that can be blanked.

    `secret_digest` is the lower-case hexadecimal SHA-256 digest of the secret the event made.
    """

    secret_digest: str | None = field(default=None, repr=False)


NO_PRIVATE_DATA = PrivateData()


def subject_of(event: ApplicationEvent) -> dict[str, Any]:
    """Return the fields that every event of one application repeats."""
    return {one.name: getattr(event, one.name) for one in fields(ApplicationEvent)}
