"""How long a token service takes to know a million clients, and to be back when it knew them.

`python -m bench.bootstrap [--applications N]`: an empty store is filled from the snapshot of a
registry that is a process of its own; two workers are asked for tokens of clients drawn at random,
and what memory is theirs alone is read from the kernel; `projection verify` compares; then the
service is started again, with nobody there to ask: no registry, no Postgres, no RabbitMQ.
"""

import argparse
import asyncio
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx
import uvloop

from bench.crowd import APPLICATIONS, furnish
from bench.house import House, free_port, make_credentials, served
from bench.load import measure
from services.embedded.postgres import EmbeddedPostgres
from shared.config import Settings
from shared.credentials import digest_of, new_client_secret
from shared.logs import configure
from shared.postgres import connect
from shared.sections import Logs

WORKERS, ROUNDS = 2, 5
READY_SECONDS = 300
NOBODY = "http://127.0.0.1:9"
_GIVE_SECRETS = """
INSERT INTO registry.application_secrets (id, application_id, hint, digest, created_at, position)
SELECT gen_random_uuid(), id, 'hint', $1, created_at, 0 FROM registry.applications
"""


@dataclass(frozen=True)
class Running:
    """A token service that is ready, and how long that took from the start of its process."""

    url: str
    pid: int
    seconds: float


def main() -> None:
    """Measure, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--applications", type=int, default=APPLICATIONS)
    options = parser.parse_args()
    uvloop.run(_main(options.applications))


async def _main(count: int) -> None:
    configure(Logs(level="error"), "bench")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        make_credentials(Settings(var=folder))
        async with EmbeddedPostgres(folder) as postgres:
            await furnish(postgres.dsn, count)
            secret = new_client_secret()
            forms = await _give_secrets(postgres.dsn, secret)
            where = House(folder, postgres.dsn, "", "")
            async with served(where, "registry", free_port()) as registry:
                async with token_service(folder, registry, workers=WORKERS) as running:
                    loaded = measure(f"{running.url}/oauth2-token", forms, folder, 5)
                    memory = [private_megabytes(pid) for pid in children(running.pid)]
                verified = await verify(folder, registry)
        restarts = []
        for _ in range(ROUNDS):
            async with token_service(folder, NOBODY, workers=1) as again:
                restarts.append(again.seconds)
                last = measure(f"{again.url}/oauth2-token", forms, folder, 1)
    print(
        f"bootstrap: {count:,} clients from a snapshot, ready after {running.seconds:.1f} s; "
        f"private memory of the workers {', '.join(f'{one:.0f}' for one in memory)} MB after "
        f"{5 * loaded.requests_per_second:,.0f} tokens for random clients "
        f"({loaded.failed} refused, of clients that are inactive); {verified}\n"
        f"restart with a warm store and nobody to ask: ready after "
        f"{statistics.median(restarts):.2f} s ({min(restarts):.2f} to {max(restarts):.2f} in "
        f"{ROUNDS} rounds), then {last.requests_per_second:,.0f} tokens/s",
        flush=True,
    )


async def _give_secrets(dsn: str, secret: str) -> list[str]:
    """Give all applications the same secret; return forms of requests of some."""
    connection = await connect(dsn, command_seconds=READY_SECONDS)
    try:
        await connection.execute(_GIVE_SECRETS, digest_of(secret))
        await connection.execute("VACUUM (ANALYZE) registry.application_secrets")
        rows = await connection.fetch(
            "SELECT client_id FROM registry.applications ORDER BY random() LIMIT 5000"
        )
    finally:
        connection.terminate()
    return [
        urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": row["client_id"],
                "client_secret": secret,
            }
        )
        for row in rows
    ]


@asynccontextmanager
async def token_service(folder: Path, registry: str, *, workers: int) -> AsyncIterator[Running]:
    """Run `token serve` until it is ready."""
    port = free_port()
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", "token", "serve"),
        *("--port", str(port), "--workers", str(workers)),
        env={**environment(folder, registry), "OAUTHAPPS_BUS__URL": "amqp://nobody@127.0.0.1:9/"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(READY_SECONDS), httpx.AsyncClient(trust_env=False) as http:
            while not await _is_ready(http, url):  # noqa: ASYNC110 - readiness is asked for
                await asyncio.sleep(0.01)
        yield Running(url, process.pid, time.perf_counter() - started)
    finally:
        process.terminate()
        await process.wait()


def environment(folder: Path, registry: str) -> dict[str, str]:
    """Return what the program is told."""
    return {
        **os.environ,
        "OAUTHAPPS_VAR": str(folder),
        "OAUTHAPPS_LOGS__LEVEL": "error",
        "OAUTHAPPS_REGISTRY__INTERNAL_URL": registry,
    }


async def _is_ready(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(f"{url}/readyz", timeout=5)).status_code == 200
    except httpx.TransportError:
        return False


async def verify(folder: Path, registry: str) -> str:
    """Return what `projection verify` says, and how long it took."""
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", "projection", "verify", "--json"),
        env=environment(folder, registry),
        stdout=asyncio.subprocess.PIPE,
    )
    await process.communicate()
    outcome = "verified" if process.returncode == 0 else "NOT the registry's"
    return f"projection {outcome} in {time.perf_counter() - started:.1f} s"


def children(pid: int) -> list[int]:
    """Return the worker processes of a service."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for one in map(int, found) if "spawn_main" in _command(one)]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def private_megabytes(pid: int) -> float:
    """Return what a process alone has changed in memory: not the store, which all map."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kilobytes = re.search(r"Private_Dirty:\s+(\d+)", rollup)
    assert kilobytes is not None
    return int(kilobytes[1]) / 1024


if __name__ == "__main__":
    main()
