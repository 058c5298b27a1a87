"""A registry's database to measure on: embedded Postgres, one organization, one owner."""

import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.embedded.postgres import EmbeddedPostgres
from services.registry.app import MIGRATIONS, SCHEMA
from services.registry.directory import Directory
from services.registry.ports import Append, NewEvent, Write
from shared.credentials import digest_of, new_client_id, new_client_secret
from shared.events import (
    ApplicationCreated,
    ApplicationDeactivated,
    Event,
    PrivateData,
    SecretFacts,
)
from shared.postgres import create_pool, migrate_database


@dataclass(frozen=True)
class House:
    """Where to measure, and on whose behalf."""

    var: Path
    dsn: str
    organization_id: str
    owner_id: str

    def create(self) -> tuple[Append, ApplicationCreated, str]:
        """Return a command that adds an application, its event and its secret."""
        secret = new_client_secret()
        event = ApplicationCreated(
            application_id=str(uuid.uuid4()),
            client_id=new_client_id(),
            organization_id=self.organization_id,
            owner_id=self.owner_id,
            name=str(uuid.uuid4()),
            scopes=("applications:read",),
            secret=SecretFacts(id=str(uuid.uuid4()), hint=secret[-4:], created_at=now()),
        )
        private = PrivateData(secret_digest=digest_of(secret))
        return append(event, 0, private), event, secret

    def deactivate(self, created: ApplicationCreated) -> Append:
        """Return a command that deactivates a new application."""
        event = ApplicationDeactivated(
            application_id=created.application_id,
            client_id=created.client_id,
            organization_id=created.organization_id,
            owner_id=created.owner_id,
            name=created.name,
        )
        return append(event, 1)


def append(event: Event, expected_version: int, private: PrivateData | None = None) -> Append:
    """Return a command of one event."""
    new = NewEvent(event, private) if private else NewEvent(event)
    return Append(
        command_id=str(uuid.uuid4()),
        actor="cli:bench",
        time=now(),
        writes=(
            Write(stream=event.application_id, expected_version=expected_version, events=(new,)),
        ),
    )


def now() -> datetime:
    """Return the time of an event."""
    return datetime.now(UTC)


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    """Run a Postgres and lay out the registry in it; all of it goes away afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        var = Path(folder)
        async with EmbeddedPostgres(var) as postgres:
            await migrate_database(postgres.dsn, SCHEMA, MIGRATIONS)
            async with await create_pool(postgres.dsn, size=2) as pool:
                directory = Directory(pool)
                organization = await directory.add_organization("Bench")
                owner = await directory.add_user(
                    "bench@example.com", name="Bench", organizations=[organization.id]
                )
            yield House(var, postgres.dsn, organization.id, owner.id)
