"""What counting costs a token request: in memory, as we do, and in a file that all workers map.

`python -m bench.counting`: CPU time of one count each way, of a signature beside it, and of what
happens once a second in each of several workers, and at a scrape.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram

ROUNDS = 5
SERIES = 300


def main() -> None:
    """Measure, each in a process of its own: the library chooses how it counts when imported."""
    print("counting, µs of CPU, the best of", ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        for how, given in (("memory", {}), ("mapped file", {"PROMETHEUS_MULTIPROC_DIR": folder})):
            command = [sys.executable, "-m", "bench.counting", how]
            subprocess.run(command, check=True, env={**os.environ, **given})
    _beside()


def _beside() -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    from shared.tally import Tally  # noqa: PLC0415

    key = ed25519.Ed25519PrivateKey.generate()
    print(f"  an Ed25519 signature: {_cost(lambda: key.sign(b'x' * 500), 10_000):.2f}")
    registry = CollectorRegistry()
    counter = Counter("count", "Some", ["label"], registry=registry)
    for number in range(SERIES):
        counter.labels(str(number)).inc()
    with tempfile.TemporaryDirectory() as folder:
        one, other = Tally(Path(folder), registry), Tally(Path(folder), registry)
        other.keep()
        print(f"  once a second, {SERIES} series: {_cost(one.keep, 200):.0f}")
        print(f"  at a scrape, of two workers: {_cost(lambda: list(one.collect()), 200):.0f}")


def _count(how: str) -> None:
    registry = CollectorRegistry()
    counter = Counter("count", "Some", ["label"], registry=registry).labels("ok")
    histogram = Histogram("seconds", "Some", registry=registry)
    print(f"  {how}: counter {_cost(counter.inc, 100_000):.2f}", end=", ")
    print(f"histogram {_cost(lambda: histogram.observe(0.01), 100_000):.2f}")


def _cost(work: Callable[[], object], times: int) -> float:
    def once() -> float:
        begun = time.process_time()
        for _ in range(times):
            work()
        return (time.process_time() - begun) / times * 1e6

    return min(once() for _ in range(ROUNDS))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _count(sys.argv[1])
    else:
        main()
