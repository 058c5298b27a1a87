"""Starting a child whose life is ours: it dies when we do, but not of the terminal's Ctrl-C."""

import asyncio
import os
import pwd
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_LAUNCHER = Path(__file__).with_name("unprivileged.py")
_NOBODY = 65534
# Nothing of ours: neither secrets nor PGPORT and its like.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a child runs as."""

    uid: int
    gid: int


def own_account() -> Account:
    """Return the user we run as."""
    return Account(os.geteuid(), os.getegid())


def account_for(folder: Path) -> Account:
    """Return our own account; where we are root, that of a folder's owner, or `nobody`."""
    if os.geteuid() != 0:
        return own_account()
    if folder.exists() and folder.stat().st_uid != 0:
        return Account(folder.stat().st_uid, folder.stat().st_gid)
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(_NOBODY, _NOBODY)
    return Account(entry.pw_uid, entry.pw_gid)


def bound_command(
    command: Sequence[str | Path], *, account: Account, death_signal: signal.Signals
) -> list[str]:
    """Return the command that runs as an account, and gets the signal when we die (Linux).

    "We" is the thread that starts it: start it from one that lives as long as the program.
    """
    if not sys.platform.startswith("linux"):
        return [str(part) for part in command]
    numbers = (os.getpid(), int(death_signal), account.uid, account.gid)
    return [str(part) for part in (sys.executable, "-I", "-S", _LAUNCHER, *numbers, *command)]


async def start_child(
    program: Path,
    *arguments: str,
    account: Account,
    death_signal: signal.Signals,
    output: int | IO[bytes],
) -> asyncio.subprocess.Process:
    """Start a program that gets the signal when we die. Raises OSError."""
    return await asyncio.create_subprocess_exec(
        *bound_command((program, *arguments), account=account, death_signal=death_signal),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd="/",
        env=_ENVIRONMENT,
        # Not in the terminal's group: Ctrl-C is ours, and the order of the end as well.
        start_new_session=True,
    )
