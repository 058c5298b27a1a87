"""Programs of Debian packages, run for the tests alone: they end with us, their words are kept."""

import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from services.embedded.child import bound_command, own_account

_OUTPUT = "output"


def started(
    *command: str | Path, home: Path, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start a program in its folder, with this environment and no other."""
    with (home / _OUTPUT).open("ab") as output:
        return subprocess.Popen(
            bound_command(command, account=own_account(), death_signal=signal.SIGKILL),
            env=environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def require_running(server: "subprocess.Popen[bytes]", home: Path) -> None:
    """Raise RuntimeError, with what it said, if it has ended."""
    if server.poll() is not None:
        said = (home / _OUTPUT).read_text(errors="replace")
        message = f"the server ended at its start:\n{said}"
        raise RuntimeError(message)
