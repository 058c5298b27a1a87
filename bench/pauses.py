"""How often a core stands still: what a loop that only looks at the clock is kept from seeing.

`python -m bench.pauses SECONDS`, pinned to a core by `taskset`. What it misses was taken by other
processes, the kernel, or the host of a virtual machine; a server on that core waits likewise.
Prints milliseconds as JSON.
"""

import json
import subprocess
import sys
from time import perf_counter
from typing import Any

PAUSE_SECONDS = 0.001


def observe(seconds: float) -> dict[str, float]:
    """Return how many pauses over a millisecond there were, the longest, and their sum."""
    pauses = []
    begun = last = perf_counter()
    while last - begun < seconds:
        now = perf_counter()
        if now - last > PAUSE_SECONDS:
            pauses.append(now - last)
        last = now
    longest, together = max(pauses, default=0.0), sum(pauses)
    return {"pauses": len(pauses), "longest": 1000 * longest, "together": 1000 * together}


def pauses_of(core: str, seconds: float) -> dict[str, Any]:
    """Observe one core, by a process of its own."""
    command = ["taskset", "-c", core, sys.executable, "-m", "bench.pauses", str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    print(json.dumps(observe(float(sys.argv[1]))))
