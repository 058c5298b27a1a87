"""Tokens a second of one worker on one core, beside what OpenSSL signs on that core.

`python -m bench.token [--seconds N] [--rounds N] [--clients N]`: the service on core 0, the load
(wrk) on core 1, keys and clients made for the run. Prints ratios: the machine's own speed is in
both figures, which are taken in turn, so that what else the machine does falls on both. The median
counts. Then, with ES256, what an introspection and a failed authentication cost beside a token,
and what a token costs among many clients beside few, with a client drawn for each request.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
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
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
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
local bodies = {BODIES}
request = function()
  return wrk.format(nil, nil, nil, bodies[math.random(#bodies)])
end
"""
LIMITS = ("CLIENT", "ADDRESS")
CLIENTS, MANY = 10_000, 1_000_000
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
    parser.add_argument("--clients", type=int, default=MANY, help="how many are many")
    options = parser.parse_args()
    for program in ("wrk", "openssl", "taskset"):
        if shutil.which(program) is None:
            sys.exit(f"bench.token needs {program}: install it first")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("bench.token needs two cores: one for the service, one for the load")
    for algorithm in OPENSSL_NAMES:
        report(algorithm, options.seconds, options.rounds)
    report_others(options.seconds, options.rounds)
    report_scale(options.clients, options.seconds, options.rounds)


def report(algorithm: Algorithm, seconds: int, rounds: int) -> None:
    """Print what one algorithm reaches."""
    measured: list[Round] = []
    with tempfile.TemporaryDirectory() as folder:
        body = prepare(Path(folder), algorithm)[0]
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


def report_others(seconds: int, rounds: int) -> None:
    """Print what introspection and refusal reach, beside issuing."""
    with tempfile.TemporaryDirectory() as folder:
        body = prepare(Path(folder), "ES256")[0]
        # Counting failures would answer 429 from the 61st on, which costs even less.
        limits = {f"OAUTHAPPS_TOKEN__FAILURES__PER_{one}_AND_MINUTE": "0" for one in LIMITS}
        with served(Path(folder), limits) as url:
            answer = urllib.request.urlopen(f"{url}/oauth2-token", body.encode(), timeout=5)  # noqa: S310 - our own address
            token = json.load(answer)["access_token"]
            bodies = {
                "/oauth2-token": body,
                "/introspect": f"{body}&{urlencode({'token': token})}",
                "refused": _wrong(body),
            }
            taken: dict[str, list[float]] = {name: [] for name in bodies}
            for _ in range(rounds):
                for name, one in bodies.items():
                    path = name if name.startswith("/") else "/oauth2-token"
                    load = measure(url, one, Path(folder), seconds, path=path)
                    taken[name].append(load.requests_per_second)
    tokens, introspections, refusals = (median(one) for one in taken.values())
    print(
        f"introspection: {introspections:,.0f}/s; failed authentication: {refusals:,.0f}/s, "
        f"{tokens / refusals:.2f} of what a token (ES256, {tokens:,.0f}/s) costs",
        flush=True,
    )


def report_scale(many: int, seconds: int, rounds: int) -> None:
    """Print what a token costs among many clients, beside few."""
    few = 1000
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        places = [(Path(folder) / str(count), count) for count in (few, many)]
        bodies = [prepare(place, "ES256", clients=count) for place, count in places]
        urls = [stack.enter_context(served(place)) for place, _ in places]
        taken: list[list[float]] = [[], []]
        for _ in range(rounds):
            for (place, _), url, forms, rates in zip(places, urls, bodies, taken, strict=True):
                rates.append(measure(url, forms, place, seconds).requests_per_second)
    among_few, among_many = map(median, taken)
    print(
        f"{many:,} clients: {among_many:,.0f} tokens/s, {few:,}: {among_few:,.0f}: "
        f"ratio {among_many / among_few:.3f}",
        flush=True,
    )


def _wrong(body: str) -> str:
    """Return a request with another secret, as well-formed as the right one."""
    head, _, _ = body.partition("client_secret=")
    return f"{head}client_secret={new_client_secret()}"


def prepare(var: Path, algorithm: Algorithm, *, clients: int = CLIENTS) -> list[str]:
    """Make what a token service needs under `var`; return forms of requests."""
    var.mkdir(exist_ok=True)
    settings = Settings(var=var)
    generate(
        settings.in_var(settings.token.private_key),
        settings.in_var(settings.token.public_key),
        algorithm,
    )
    load_or_create(settings.in_var(settings.internal.credential_file))
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
def served(var: Path, more: Mapping[str, str] | None = None) -> Iterator[str]:
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
        **(more or {}),
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


def measure(
    url: str, body: str | list[str], folder: Path, seconds: int, *, path: str = "/oauth2-token"
) -> Load:
    """Return what wrk gets from the service; of several bodies it draws one each time."""
    script = folder / "request.lua"
    bodies = [body] if isinstance(body, str) else body
    listed = ",".join(f'"{one}"' for one in bodies)
    script.write_text(WRK_SCRIPT.replace("BODIES", listed))
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    result = subprocess.run(
        [*command, "--latency", "-s", str(script), f"{url}{path}"],
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
