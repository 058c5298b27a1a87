"""Events of every type and their places in a log."""

import uuid
from datetime import UTC, datetime

from hypothesis import strategies as some

from shared.envelope import Envelope, Metadata, Undecodable
from shared.events import (
    EVENT_TYPES,
    NO_PRIVATE_DATA,
    ApplicationUpdated,
    Event,
    PrivateData,
    PublicKey,
    SecretFacts,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
EPOCH = "eeeeeeee-0000-4000-8000-000000000001"
DIGEST = "d1" * 32

TEXTS = some.text(some.characters(codec="utf-8"), max_size=20)
TIMES = some.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=some.just(UTC),
)
SECRETS = some.builds(
    SecretFacts, id=TEXTS, hint=TEXTS, created_at=TIMES, expires_at=some.none() | TIMES
)
KEYS = some.builds(
    PublicKey,
    kty=TEXTS,
    kid=TEXTS,
    alg=TEXTS,
    **{name: some.none() | TEXTS for name in ("n", "e", "crv", "x", "y")},
)
_FIELDS = {
    "active": some.booleans(),
    "changed": some.lists(TEXTS, max_size=3).map(tuple),
    "expires_at": some.none() | TIMES,
    "scopes": some.lists(TEXTS, max_size=3).map(tuple),
    "secret": SECRETS,
    "reason": some.sampled_from(["requested", "owner_disabled", "organization_disabled"]),
    "others_expire_at": TIMES,
    "secret_id": TEXTS,
    "not_before": TIMES,
    "keys": some.lists(KEYS, max_size=2).map(tuple),
    "token_seconds": some.none() | some.integers(1, 86_400),
    "jti": some.none() | TEXTS,
    "revoked_at": some.none() | TIMES,
    "token_expires_at": some.none() | TIMES,
}
EVENTS: some.SearchStrategy[Event] = some.one_of(
    *(
        some.builds(kind, **{name: _FIELDS.get(name, TEXTS) for name in kind.__dataclass_fields__})
        for kind in EVENT_TYPES.values()
    )
)


def updated(name: str = "CI") -> ApplicationUpdated:
    """Return a small event."""
    return ApplicationUpdated(
        application_id="a1", client_id="c1", organization_id="o1", owner_id="u1", name=name
    )


def envelope(
    position: int = 1,
    event: Event | None = None,
    *,
    private: PrivateData = NO_PRIVATE_DATA,
    correlation_id: str | None = None,
) -> Envelope:
    """Return an event at its place in the log."""
    fact = event or updated(f"name {position}")
    return Envelope(
        position=position,
        id=str(uuid.uuid4()),
        stream="aaaaaaaa-0000-4000-8000-000000000001",
        version=position,
        type=type(fact).__name__,
        time=NOON,
        event=fact,
        private=private,
        metadata=Metadata(
            command_id=str(uuid.uuid4()), actor="user:u1", correlation_id=correlation_id
        ),
    )


def undecodable(position: int = 1) -> Undecodable:
    """Return an event that a newer version wrote, at its place in the log."""
    return Undecodable(
        position=position,
        id=str(uuid.uuid4()),
        stream="aaaaaaaa-0000-4000-8000-000000000001",
        type="ApplicationEaten",
        time=NOON,
        reason="event type 'ApplicationEaten' is not known to this version; upgrade it",
    )
