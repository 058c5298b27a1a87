"""What is measured on: embedded Postgres, one organization, one owner; services as processes."""

import asyncio
import itertools
import os
import socket
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from services.embedded.postgres import EmbeddedPostgres
from services.registry.directory_changes import Author, DirectoryChanges, NewUser
from services.registry.handlers import Context
from services.registry.ports import Append, NewEvent, Write
from services.registry.schema import MIGRATIONS, SCHEMA
from services.token.keys import Algorithm, generate
from shared.config import Settings
from shared.credentials import digest_of, new_client_id, new_client_secret
from shared.events import (
    ApplicationCreated,
    ApplicationDeactivated,
    Event,
    PrivateData,
    SecretFacts,
    subject_of,
)
from shared.postgres import create_pool, migrate_database
from shared.service_credential import load_or_create

START_SECONDS = 15
_numbers = itertools.count()


@dataclass(frozen=True)
class House:
    """Where to measure, and on whose behalf."""

    var: Path
    dsn: str
    organization_id: str
    owner_id: str

    def create(self, scope: str = "applications:read") -> tuple[Append, ApplicationCreated, str]:
        """Return a command that adds an application, its event and its secret."""
        secret = new_client_secret()
        event = ApplicationCreated(
            application_id=str(uuid.uuid4()),
            client_id=new_client_id(),
            organization_id=self.organization_id,
            owner_id=self.owner_id,
            name=f"Nightly import {next(_numbers)}",
            scopes=(scope,),
            secret=SecretFacts(id=str(uuid.uuid4()), hint=secret[-4:], created_at=now()),
        )
        private = PrivateData(secret_digest=digest_of(secret))
        return append(event, 0, private), event, secret

    def deactivate(self, created: ApplicationCreated) -> Append:
        """Return a command that deactivates a new application."""
        return append(ApplicationDeactivated(**subject_of(created)), 1)


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
                changes = DirectoryChanges(pool)
                author = Author(
                    context=Context(command_id=str(uuid.uuid4()), actor="cli:bench", now=now)
                )
                organization = await changes.add_organization("Bench", author)
                owner = await changes.add_user(
                    NewUser(
                        email="bench@example.com", name="Bench", organizations=[organization.id]
                    ),
                    author,
                )
            yield House(var, postgres.dsn, organization.id, owner.id)


def free_port() -> int:
    """Return a port that nobody listened on a moment ago."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


def make_credentials(settings: Settings, algorithm: Algorithm = "RS256") -> None:
    """Make the signing keys, and the credential by which services know each other."""
    generate(
        settings.in_var(settings.token.private_key),
        settings.in_var(settings.token.public_key),
        algorithm,
    )
    load_or_create(settings.in_var(settings.internal.credential_file))


@asynccontextmanager
async def served(where: House, name: str, port: int, **settings: str) -> AsyncIterator[str]:
    """Run a service in a process of its own; yield its URL once it lives."""
    environment = {
        "OAUTHAPPS_VAR": str(where.var),
        "OAUTHAPPS_LOGS__LEVEL": "error",
        "OAUTHAPPS_REGISTRY__DATABASE__URL": where.dsn,
        **{f"OAUTHAPPS_{key}": value for key, value in settings.items()},
    }
    url = f"http://127.0.0.1:{port}"
    command = ("-m", "services", name, "serve", "--port", str(port))
    async with running(*command, url=url, environment=environment):
        yield url


@asynccontextmanager
async def running(
    *arguments: str, url: str, environment: Mapping[str, str], output: int | None = None
) -> AsyncIterator[None]:
    """Run a Python program beside the block, which begins once the program lives at its URL.

    What it prints goes to `output`, or where we print.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env={**os.environ, **environment},
        stdout=output,
    )
    try:
        await _until_it_lives(url, process)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _until_it_lives(url: str, process: asyncio.subprocess.Process) -> None:
    """Return once it answers. Raises RuntimeError when it ended, TimeoutError."""
    async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(trust_env=False) as http:
        while True:
            if process.returncode is not None:
                message = "a service ended before it could be measured"
                raise RuntimeError(message)
            try:
                await http.get(f"{url}/livez")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


def quantile(ordered: list[float], share: float) -> float:
    """Return the value below which that share of the ordered values lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
