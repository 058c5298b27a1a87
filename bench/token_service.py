"""The token service to be measured: keys and clients made for the run, the registry not needed."""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

from bench.house import free_port, make_credentials
from bench.load import wait_until_ready
from services.token.keys import Algorithm
from services.token.projection import Projection
from shared.clients import ClientRecord, SecretRecord, SnapshotHead
from shared.config import Settings
from shared.credentials import digest_of, new_client_id, new_client_secret

SERVER_CORE = "0"
AUDIENCE = "https://api.example"
CLIENTS = 10_000


def prepare(var: Path, algorithm: Algorithm, *, clients: int = CLIENTS) -> list[str]:
    """Make what a token service needs under `var`; return forms of requests."""
    var.mkdir(exist_ok=True)
    settings = Settings(var=var)
    make_credentials(settings, algorithm)
    secrets = {new_client_id(): new_client_secret() for _ in range(clients)}

    async def records() -> AsyncIterator[ClientRecord]:
        for client_id, secret in sorted(secrets.items()):
            yield ClientRecord(
                client_id=client_id,
                application_id="00000000-0000-4000-8000-000000000000",
                organization_id="11111111-1111-4111-8111-111111111111",
                owner_id="22222222-2222-4222-8222-222222222222",
                active=True,
                scopes=("applications:read", "applications:write"),
                secrets=(SecretRecord(id="1", digest=digest_of(secret)),),
            )

    projection = Projection(
        settings.in_var(settings.token.projection), map_size=settings.token.projection_map_size
    )
    asyncio.run(projection.replace_all(SnapshotHead(log_epoch="bench", position=0), records()))
    projection.close()
    return [
        urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": client_id,
                "scope": "applications:read",
                "client_secret": secret,
            }
        )
        for client_id, secret in itertools.islice(secrets.items(), 0, None, max(1, clients // 5000))
    ]


@contextlib.contextmanager
def served(
    var: Path,
    more: Mapping[str, str] | None = None,
    *,
    workers: int = 1,
    cores: str = SERVER_CORE,
) -> Iterator[str]:
    """Run `token serve`, as an operator does, on its cores; yield its URL."""
    port = free_port()
    environment = {
        **os.environ,
        "OAUTHAPPS_VAR": str(var),
        "OAUTHAPPS_LOGS__LEVEL": "error",
        "OAUTHAPPS_TOKEN__AUDIENCE": AUDIENCE,
        # Nobody listens there: the service lives on its projection.
        "OAUTHAPPS_REGISTRY__INTERNAL_URL": "http://127.0.0.1:9",
        **(more or {}),
    }
    command = ["taskset", "-c", cores, sys.executable, "-m", "services", "token", "serve"]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--workers", str(workers)], env=environment
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(f"{url}/readyz", process)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
