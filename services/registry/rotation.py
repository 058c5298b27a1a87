"""Replacing an application's secret: the new one, and how long the old one is good beside it."""

import uuid
from datetime import timedelta

from services.registry.domain import RotateSecret
from services.registry.handlers import Context, change_application
from services.registry.ports import Store
from shared import credentials
from shared.events import PrivateData, SecretFacts

LONGEST_OVERLAP = timedelta(days=90)


async def rotate_secret(
    store: Store,
    application_id: str,
    *,
    overlap: timedelta,
    context: Context,
    expected_version: int | None = None,
) -> str:
    """Give an application a new secret and return it; no overlap ends the others at once.

    Raises what `change_application` raises; then the application has the secrets it had.
    """
    secret = credentials.new_client_secret()
    now = context.now()
    command = RotateSecret(
        secret=SecretFacts(id=str(uuid.uuid4()), hint=credentials.hint_of(secret), created_at=now),
        others_expire_at=now + overlap,
    )
    await change_application(
        store,
        application_id,
        command,
        context,
        expected_version=expected_version,
        private=PrivateData(secret_digest=credentials.digest_of(secret)),
    )
    return secret
