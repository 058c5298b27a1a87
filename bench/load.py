"""Load on one core, and what it meets: all that goes by wrk, so much a second by `bench.steady`."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LOAD_CORE = "1"
CONNECTIONS = 16
START_SECONDS = 30
WRK_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
local bodies = {BODIES}
request = function()
  return wrk.format(nil, nil, nil, bodies[math.random(#bodies)])
end
"""


@dataclass(frozen=True)
class Load:
    """What the load generator saw; times as wrk writes them."""

    requests_per_second: float
    p50: str
    p99: str
    failed: int


def measure(
    url: str, bodies: str | Sequence[str], folder: Path, seconds: int, *, core: str = LOAD_CORE
) -> Load:
    """Return what wrk gets from an address; of several bodies it draws one each time."""
    script = folder / "request.lua"
    drawn = [bodies] if isinstance(bodies, str) else bodies
    listed = ",".join(f'"{one}"' for one in drawn)
    script.write_text(WRK_SCRIPT.replace("BODIES", listed))
    command = ["taskset", "-c", core, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    result = subprocess.run(
        [*command, "--latency", "-s", str(script), url], check=True, capture_output=True, text=True
    ).stdout
    errors = re.findall(r"(?:connect|read|write|timeout) (\d+)", result)
    return Load(
        requests_per_second=float(find(r"Requests/sec:\s+([\d.]+)", result)),
        p50=find(r"(?m)^\s+50%\s+(\S+)", result),
        p99=find(r"(?m)^\s+99%\s+(\S+)", result),
        failed=int(find(r"Non-2xx or 3xx responses: (\d+)", result) or 0) + sum(map(int, errors)),
    )


def steady(url: str, body: str, folder: Path, *, rate: float, seconds: int) -> dict[str, float]:
    """Return what requests meet that come at a rate: see `bench.steady`."""
    place = folder / "body"
    place.write_text(body)
    command = ["taskset", "-c", LOAD_CORE, sys.executable, "-m", "bench.steady", url, str(place)]
    result = subprocess.run(
        [*command, str(rate), str(seconds)], check=True, capture_output=True, text=True
    ).stdout
    told: dict[str, float] = json.loads(result)
    return told


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Return once it answers 2xx; end the program when it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - our own address
                return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"bench: {url} did not become ready")


def find(pattern: str, text: str) -> str:
    """Return the first group of a pattern, or nothing."""
    found = re.search(pattern, text)
    return found[1] if found else ""
