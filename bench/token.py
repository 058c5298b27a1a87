"""Tokens a second of one worker on one core, beside what OpenSSL signs on that core.

`python -m bench.token [--seconds N] [--rounds N]`: the service on core 0, the load (wrk) on core 1,
keys and clients made for the run. Prints ratios: the machine's own speed is in both figures, which
are taken in turn, so that what else the machine does falls on both. The median counts.
"""

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from services.token.keys import Algorithm, generate
from services.token.projection import Projection
from shared.clients import ClientRecord, SecretRecord, SnapshotHead
from shared.config import Settings
from shared.credentials import digest_of, new_client_id, new_client_secret
from shared.service_credential import load_or_create

SERVER_CORE = "0"
LOAD_CORE = "1"
CONNECTIONS = 16
START_SECONDS = 15
AUDIENCE = "https://api.example"
WRK_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
wrk.body = "{body}"
"""
OPENSSL_NAMES: dict[Algorithm, str] = {"RS256": "rsa2048", "ES256": "ecdsap256"}


@dataclass(frozen=True)
class Load:
    """What wrk saw."""

    requests_per_second: float
    p50: str
    p99: str
    failed: int


@dataclass(frozen=True)
class Round:
    """Both figures, taken one after the other."""

    load: Load
    signs_per_second: float

    @property
    def ratio(self) -> float:
        """Tokens for each signature that OpenSSL makes."""
        return self.load.requests_per_second / self.signs_per_second


def main() -> None:
    """Measure each algorithm and print its ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=3, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    options = parser.parse_args()
    for program in ("wrk", "openssl", "taskset"):
        if shutil.which(program) is None:
            sys.exit(f"bench.token needs {program}: install it first")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("bench.token needs two cores: one for the service, one for the load")
    for algorithm in OPENSSL_NAMES:
        report(algorithm, options.seconds, options.rounds)


def report(algorithm: Algorithm, seconds: int, rounds: int) -> None:
    """Print what one algorithm reaches."""
    measured: list[Round] = []
    with tempfile.TemporaryDirectory() as folder:
        body = prepare(Path(folder), algorithm)
        with served(Path(folder)) as url:
            measure(url, body, Path(folder), 1)
            for _ in range(rounds):
                # The service idles meanwhile: each has the core for itself.
                signs = openssl_signs(OPENSSL_NAMES[algorithm], seconds)
                measured.append(Round(measure(url, body, Path(folder), seconds), signs))
    measured.sort(key=lambda one: one.ratio)
    median = measured[len(measured) // 2]
    print(
        f"{algorithm}: {median.load.requests_per_second:,.0f} tokens/s, "
        f"openssl signs {median.signs_per_second:,.0f}/s on the same core: "
        f"ratio {median.ratio:.2f} ({measured[0].ratio:.2f} to {measured[-1].ratio:.2f} "
        f"in {rounds} rounds; p50 {median.load.p50}, p99 {median.load.p99}, "
        f"failed {sum(one.load.failed for one in measured)})",
        flush=True,
    )


def prepare(var: Path, algorithm: Algorithm) -> str:
    """Make what a token service needs under `var`; return the form of a request."""
    settings = Settings(var=var)
    generate(
        settings.in_var(settings.token.private_key),
        settings.in_var(settings.token.public_key),
        algorithm,
    )
    load_or_create(settings.in_var(settings.internal.credential_file))
    secrets = {new_client_id(): new_client_secret() for _ in range(10_000)}

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
    client_id, secret = next(iter(secrets.items()))
    return urlencode(
        {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": secret,
            "scope": "applications:read",
        }
    )


@contextlib.contextmanager
def served(var: Path) -> Iterator[str]:
    """Run `token serve`, as an operator does, on its core; the registry is not needed."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    environment = {
        **os.environ,
        "OAUTHAPPS_VAR": str(var),
        "OAUTHAPPS_LOGS__LEVEL": "error",
        "OAUTHAPPS_TOKEN__AUDIENCE": AUDIENCE,
        # Nobody listens there: the service lives on its projection.
        "OAUTHAPPS_REGISTRY__INTERNAL_URL": "http://127.0.0.1:9",
    }
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "services", "token", "serve"]
    process = subprocess.Popen([*command, "--port", str(port)], env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(f"{url}/readyz", process)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Return once it answers 200."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - our own address
                return
        except OSError:
            time.sleep(0.05)
    sys.exit("bench.token: the token service did not become ready")


def measure(url: str, body: str, folder: Path, seconds: int) -> Load:
    """Return what wrk gets from the service."""
    script = folder / "request.lua"
    script.write_text(WRK_SCRIPT.format(body=body))
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    result = subprocess.run(
        [*command, "--latency", "-s", str(script), f"{url}/oauth2-token"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return Load(
        requests_per_second=float(_find(r"Requests/sec:\s+([\d.]+)", result)),
        p50=_find(r"(?m)^\s+50%\s+(\S+)", result),
        p99=_find(r"(?m)^\s+99%\s+(\S+)", result),
        failed=int(_find(r"Non-2xx or 3xx responses: (\d+)", result) or 0),
    )


def openssl_signs(name: str, seconds: int) -> float:
    """Return signatures a second of `openssl speed` on the service's core."""
    output = subprocess.run(
        ["taskset", "-c", SERVER_CORE, "openssl", "speed", "-mr", "-seconds", str(seconds), name],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    # +F2 (RSA) and +F4 (ECDSA): number, bits, seconds per signature or signatures per second.
    last = _find(r"\+F[24]:\d+:\d+:([\d.]+):", output)
    value = float(last)
    return value if value > 1 else 1 / value


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""


if __name__ == "__main__":
    main()
