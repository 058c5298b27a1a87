"""One of each thing that can be told: what templates are tried out with, and shown with."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from services.notifier.domain import (
    USER,
    Context,
    Fact,
    FirstUseFromAddress,
    Occurrence,
    SecretExpiring,
    context_of,
)
from shared.events import (
    ApplicationActivated,
    ApplicationCreated,
    ApplicationDeactivated,
    ApplicationDeleted,
    ApplicationSecretRevoked,
    ApplicationSecretRotated,
    ApplicationUpdated,
    SecretFacts,
    TokensRevoked,
)
from shared.feed_client import Recipient

MOMENT = datetime(2026, 3, 9, 14, 5, tzinfo=UTC)
_SOON = MOMENT + timedelta(days=7)
_OWNER, _ACTOR = "sample-owner", "sample-administrator"
NAMES = {_OWNER: "Ada Lovelace", _ACTOR: "Grace Hopper"}
_SUBJECT: dict[str, Any] = {
    "application_id": "11111111-1111-4111-8111-111111111111",
    "client_id": "s3ampleC1ient1dExample0000000000",
    "organization_id": "sample-organization",
    "owner_id": _OWNER,
    "name": "Build server",
}
_SECRET = SecretFacts(id="sample-secret", hint="4f9K", created_at=MOMENT)
_CREATED = ApplicationCreated(**_SUBJECT, secret=_SECRET)
_DEACTIVATED = ApplicationDeactivated(**_SUBJECT)
_ROTATED = ApplicationSecretRotated(
    **_SUBJECT, secret=_SECRET, others_expire_at=MOMENT + timedelta(days=1)
)
_REVOKED = TokensRevoked(**_SUBJECT, not_before=MOMENT)
_EXPIRING = SecretExpiring(
    **_SUBJECT, secret_id=_SECRET.id, hint="4f9K", expires_at=_SOON, days_before=7
)
# Of each type every case that a template may tell apart; the first is the one to show.
_FACTS: tuple[tuple[Fact, ...], ...] = (
    (_CREATED, replace(_CREATED, active=False, expires_at=_SOON)),
    (ApplicationUpdated(**_SUBJECT, changed=("name", "expires_at"), expires_at=_SOON),),
    (ApplicationActivated(**_SUBJECT),),
    (
        _DEACTIVATED,
        replace(_DEACTIVATED, reason="owner_disabled"),
        replace(_DEACTIVATED, reason="organization_disabled"),
    ),
    (ApplicationDeleted(**_SUBJECT),),
    (_ROTATED, replace(_ROTATED, others_expire_at=MOMENT)),
    (ApplicationSecretRevoked(**_SUBJECT, secret_id=_SECRET.id),),
    (_REVOKED, replace(_REVOKED, jti="sample", revoked_at=MOMENT, token_expires_at=_SOON)),
    (FirstUseFromAddress(**_SUBJECT, address="203.0.113.7"),),
    (_EXPIRING, replace(_EXPIRING, secret_id=None, hint="")),
)


def _context(fact: Fact) -> Context:
    return context_of(
        Occurrence(
            id="sample",
            type=type(fact).__name__,
            position=0,
            stream=fact.application_id,
            time=MOMENT,
            # Whoever asked for a token is nobody we know.
            actor="" if isinstance(fact, FirstUseFromAddress) else USER + _ACTOR,
            fact=fact,
        )
    )


CONTEXTS: dict[type[Fact], tuple[Context, ...]] = {
    type(facts[0]): tuple(map(_context, facts)) for facts in _FACTS
}
# For a template that no rule names: whatever it may be meant for. The last is the fullest.
EVERYTHING: Context = {
    name: value for contexts in CONTEXTS.values() for name, value in contexts[0].items()
}


def contexts_for(about: Iterable[type[Fact]]) -> tuple[Context, ...]:
    """Return what to try a template with that is for these; for none, a context of everything."""
    return tuple(one for fact in about for one in CONTEXTS[fact]) or (EVERYTHING,)


def reader(*, locale: str = "en", is_owner: bool = True) -> Recipient:
    """Return somebody to render a sample for."""
    user_id = _OWNER if is_owner else _ACTOR
    return Recipient(
        id=user_id, email="sample@example.com", name=NAMES[user_id], locale=locale, active=True
    )
