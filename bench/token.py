"""Tokens a second on one core, beside what OpenSSL signs there and what other servers issue.

`python -m bench.token [--seconds N] [--rounds N] [--clients N]`: servers on core 0, the load (wrk)
on core 1, keys and clients made for the run; all that is compared is measured in turn, so that what
else the machine does falls on all, and the median counts. The others are node's oidc-provider with
JWTs by the same algorithm, and django-oauth-toolkit with its defaults, whose tokens are no JWTs.

Then, of ours alone: what a request waits at 80 % of what goes, what two workers on both cores reach
(with RS256, where the load takes a small part of a core; it shares theirs), what an introspection
and a failed authentication cost beside a token, and what a token costs among many clients beside
few, with a client drawn for each request.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

from bench.load import Load, find, measure, steady
from bench.pauses import pauses_of
from bench.peers import django_oauth_toolkit, oidc_provider
from bench.token_service import SERVER_CORE, prepare, served
from services.token.keys import Algorithm
from shared.credentials import new_client_secret

MANY = 1_000_000
OPENSSL_NAMES: dict[Algorithm, str] = {"RS256": "rsa2048", "ES256": "ecdsap256"}
UNLIMITED = {
    # Counting failures would answer 429 from the 61st on, which costs even less.
    f"OAUTHAPPS_TOKEN__FAILURES__PER_{one}_AND_MINUTE": "0"
    for one in ("CLIENT", "ADDRESS")
}


@dataclass(frozen=True)
class Options:
    """How long each measurement is, how often it is repeated, how many clients are many."""

    seconds: int
    rounds: int
    clients: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print tables and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=3, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    parser.add_argument("--clients", type=int, default=MANY, help="how many are many")
    options = Options(**vars(parser.parse_args(arguments)))
    for program in ("wrk", "openssl", "taskset"):
        if shutil.which(program) is None:
            sys.exit(f"bench.token needs {program}: install it first")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("bench.token needs two cores: one for the servers, one for the load")
    print("| server | tokens/s | of ours | of what openssl signs | p50 | p99 | failed |")
    print("|---|---|---|---|---|---|---|", flush=True)
    reached = {one: compare(one, options) for one in OPENSSL_NAMES}
    report_opaque_tokens(reached["RS256"], options)
    print()
    report_pauses(options)
    for algorithm, rate in reached.items():
        report_waiting(algorithm, rate, options)
    report_workers(options)
    report_others(options)
    report_scale(options)


def compare(algorithm: Algorithm, options: Options) -> float:
    """Print what one algorithm reaches here and elsewhere; return tokens a second of ours."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        body = prepare(folder, algorithm)[0]
        servers = {
            f"ours, {algorithm}": (f"{stack.enter_context(served(folder))}/oauth2-token", body),
            f"oidc-provider, {algorithm}": stack.enter_context(oidc_provider.served(algorithm)),
        }
        for url, form in servers.values():
            measure(url, form, folder, 1)
        loads: dict[str, list[Load]] = {server: [] for server in servers}
        signs: list[float] = []
        for _ in range(options.rounds):
            # The servers idle meanwhile: each has the core for itself.
            signs.append(openssl_signs(OPENSSL_NAMES[algorithm], options.seconds))
            for server, (url, form) in servers.items():
                loads[server].append(measure(url, form, folder, options.seconds))
    ours = _rate(next(iter(loads.values())))
    for server, measured in loads.items():
        rates = (one.requests_per_second for one in measured)
        ratios = [rate / sign for rate, sign in zip(rates, signs, strict=True)]
        signed = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print_row(server, measured, ours, signed)
    return ours


def report_opaque_tokens(ours: float, options: Options) -> None:
    """Print what django-oauth-toolkit reaches; alone, since it goes on after the load has ended."""
    with tempfile.TemporaryDirectory() as name, django_oauth_toolkit.served() as (url, form):
        measured = [
            measure(url, form, Path(name), 2 * options.seconds) for _ in range(options.rounds)
        ]
    print_row("django-oauth-toolkit", measured, ours, "signs nothing")


def print_row(server: str, measured: Sequence[Load], ours: float, signed: str) -> None:
    """Print a row of the table, with the median of the rounds."""
    middle = sorted(measured, key=lambda one: one.requests_per_second)[len(measured) // 2]
    print(
        f"| {server} | {middle.requests_per_second:,.0f} "
        f"| {middle.requests_per_second / ours:.3f} | {signed} "
        f"| {middle.p50} | {middle.p99} | {sum(one.failed for one in measured)} |",
        flush=True,
    )


def report_pauses(options: Options) -> None:
    """Print how long the core itself stands still, which falls on whoever is being measured."""
    seconds = 2 * options.seconds * options.rounds
    told = pauses_of(SERVER_CORE, seconds)
    print(
        f"nothing running: {told['pauses']} pauses of that core over 1 ms in {seconds} s, "
        f"the longest {told['longest']:.1f} ms, together {told['together'] / seconds / 10:.2f} %",
        flush=True,
    )


def report_waiting(algorithm: Algorithm, rate: float, options: Options) -> None:
    """Print what a request waits when they come at 80 % of what goes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        body = prepare(folder, algorithm)[0]
        with served(folder) as url:
            address = f"{url}/oauth2-token"
            measure(address, body, folder, 1)
            told = [
                steady(address, body, folder, rate=0.8 * rate, seconds=2 * options.seconds)
                for _ in range(options.rounds)
            ]
    print(
        f"{algorithm} at {0.8 * rate:,.0f} requests/s, 80 % of capacity: "
        f"p50 {median(one['p50'] for one in told):.1f} ms, "
        f"p99 {median(one['p99'] for one in told):.1f} ms, "
        f"failed {sum(one['failed'] for one in told):.0f}",
        flush=True,
    )


def report_workers(options: Options) -> None:
    """Print what two workers on both cores reach beside one on one, the load on both cores."""
    both = f"{SERVER_CORE},1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        body = prepare(folder, "RS256")[0]
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(options.rounds):
            for workers, taken in rates.items():
                cores = both if workers == 2 else SERVER_CORE
                with served(folder, workers=workers, cores=cores) as url:
                    address = f"{url}/oauth2-token"
                    measure(address, body, folder, 1, core=both)
                    load = measure(address, body, folder, options.seconds, core=both)
                    taken.append(load.requests_per_second)
    one, two = median(rates[1]), median(rates[2])
    print(f"two workers: {two:,.0f} tokens/s, one: {one:,.0f}: ratio {two / one:.2f}", flush=True)


def report_others(options: Options) -> None:
    """Print what introspection and refusal reach, beside issuing."""
    for algorithm in OPENSSL_NAMES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            body = prepare(folder, algorithm)[0]
            with served(folder, UNLIMITED) as url:
                tokens, introspections, refusals = _taken(url, body, folder, options)
        print(
            f"{algorithm}: introspection {introspections:,.0f}/s; failed authentication "
            f"{refusals:,.0f}/s, {tokens / refusals:.2f} of what a token ({tokens:,.0f}/s) costs",
            flush=True,
        )


def _taken(url: str, body: str, folder: Path, options: Options) -> list[float]:
    answer = urllib.request.urlopen(f"{url}/oauth2-token", body.encode(), timeout=5)  # noqa: S310 - our own address
    token = json.load(answer)["access_token"]
    asked: Mapping[str, tuple[str, str]] = {
        "token": ("/oauth2-token", body),
        "introspection": ("/introspect", f"{body}&{urlencode({'token': token})}"),
        "refusal": ("/oauth2-token", _wrong(body)),
    }
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(options.rounds):
        for name, (path, one) in asked.items():
            load = measure(f"{url}{path}", one, folder, options.seconds)
            taken[name].append(load.requests_per_second)
    return [median(one) for one in taken.values()]


def report_scale(options: Options) -> None:
    """Print what a token costs among many clients, beside few."""
    few = 1000
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        places = [(Path(name) / str(count), count) for count in (few, options.clients)]
        forms = [prepare(place, "ES256", clients=count) for place, count in places]
        urls = [stack.enter_context(served(place)) for place, _ in places]
        taken: list[list[float]] = [[], []]
        for _ in range(options.rounds):
            for (place, _), url, bodies, rates in zip(places, urls, forms, taken, strict=True):
                load = measure(f"{url}/oauth2-token", bodies, place, options.seconds)
                rates.append(load.requests_per_second)
    among_few, among_many = map(median, taken)
    print(
        f"{options.clients:,} clients: {among_many:,.0f} tokens/s, {few:,}: {among_few:,.0f}: "
        f"ratio {among_many / among_few:.3f}",
        flush=True,
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
    value = float(find(r"\+F[24]:\d+:\d+:([\d.]+):", output))
    return value if value > 1 else 1 / value


def _rate(measured: Sequence[Load]) -> float:
    return median(one.requests_per_second for one in measured)


def _wrong(body: str) -> str:
    """Return a request with another secret, as well-formed as the right one."""
    head, _, _ = body.partition("client_secret=")
    return f"{head}client_secret={new_client_secret()}"


if __name__ == "__main__":
    main()
