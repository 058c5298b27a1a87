"""The command line, run many times: each command is a process of its own that starts at once."""

import asyncio
import atexit
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.support.eventually import eventually

ROOT = Path(__file__).parents[2]
START_SECONDS = 30.0
Result = subprocess.CompletedProcess[str]


async def run_command(
    arguments: tuple[str, ...], environment: Mapping[str, str], *, given: str = ""
) -> Result:
    """Run a command of `oauthapps` to its end.

    Where the start itself matters, run `python -m services` instead: this saves its imports.
    """
    path = await forks()
    asked = {"arguments": arguments, "environment": dict(environment), "given": given}
    said = await asyncio.to_thread(_ask, path, json.dumps(asked))
    return Result(arguments, **json.loads(said))


async def forks() -> Path:
    """Return the socket of what forks; see `command_forks.py`."""
    path = _forks()
    await eventually(path.exists, START_SECONDS)
    return path


def _ask(path: Path, line: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        with connection.makefile("rw", encoding="utf-8") as stream:
            stream.write(line + "\n")
            stream.flush()
            return stream.read()


@cache
def _forks() -> Path:
    """Start what forks, once in this process; it ends, and removes its folder, when we do."""
    path = Path(tempfile.mkdtemp(prefix="commands-")) / "socket"
    process = subprocess.Popen(
        # By its path: as a module it would be what a command's help calls the program.
        [sys.executable, "-P", str(Path(__file__).with_name("command_forks.py")), str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
    )
    atexit.register(process.communicate)
    return path
