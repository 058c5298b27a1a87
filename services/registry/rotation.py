"""Replacing an application's secret: the new one, and how long the old one is good beside it."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from msgspec import structs

from services.registry.domain import RotateSecret
from services.registry.draws import CLIENT_SECRET, new_id
from services.registry.handlers import Context, change_application
from services.registry.ports import Store
from services.registry.terms import ahead
from services.registry.views import ApplicationView, SecretView
from shared import credentials
from shared.events import PrivateData, SecretFacts

LONGEST_OVERLAP = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedSecret:
    """What only the one who asked gets to see, and the application as it is now."""

    client_secret: str = field(repr=False)
    view: ApplicationView


async def rotate_secret(
    store: Store,
    view: ApplicationView,
    *,
    overlap: timedelta,
    context: Context,
    expires_at: datetime | None = None,
) -> RotatedSecret:
    """Give an application, as it was read, a new secret; no overlap ends the others at once.

    Raises FieldRefused for an `expires_at` in the past, WrongExpectedVersion when it was changed
    since, and what `change_application` raises;
    then the application has the secrets it had.
    """
    secret = credentials.new_client_secret(context.random(CLIENT_SECRET))
    now = context.now()
    facts = SecretFacts(
        id=new_id(context.random("secret")),
        hint=credentials.hint_of(secret),
        created_at=now,
        expires_at=ahead(expires_at, now, "expires_at"),
    )
    await change_application(
        store,
        view.id,
        RotateSecret(secret=facts, others_expire_at=now + overlap),
        replace(context, now=lambda: now),
        expected_version=view.version,
        private=PrivateData(secret_digest=credentials.digest_of(secret)),
    )
    # Not read again: whoever has the only copy of the secret must not fail any more.
    return RotatedSecret(client_secret=secret, view=_rotated(view, facts, now + overlap, now))


def _rotated(
    view: ApplicationView, facts: SecretFacts, until: datetime, now: datetime
) -> ApplicationView:
    """Return what the read model shows of it now."""
    new = SecretView(
        id=facts.id, hint=facts.hint, created_at=facts.created_at, expires_at=facts.expires_at
    )
    limits = ((one, min(until, one.expires_at or until)) for one in view.secrets)
    others = [structs.replace(one, expires_at=limit) for one, limit in limits if limit > now]
    return structs.replace(view, secrets=[*others, new], updated_at=now, version=view.version + 1)
