"""Become a program that is not root and does not outlive the one that started it (Linux).

Run as a program of its own, since between fork and exec Python code is safe in no process that
has threads: `python -I -S unprivileged.py PARENT SIGNAL UID GID PROGRAM ARGUMENT…`.

Postgres refuses to run as root. Where we are root, as in many containers, it becomes another user
but keeps one capability, to pass through folders that only root may enter: a checkout under /root
works like any other. Nobody gains by that: what it listens on lies in such a folder too.
"""

import ctypes
import os
import sys

# From linux/prctl.h and linux/capability.h.
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def main(parent: int, death_signal: int, uid: int, gid: int, command: list[str]) -> None:
    """Become the command. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if uid != os.geteuid():
        _change_user(libc, uid, gid)
    # After the change of user, which clears it.
    _check(libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0))
    if os.getppid() != parent:
        sys.exit("the program that wanted this one is gone")
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


def _change_user(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    _check(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    mask = 1 << _CAP_DAC_OVERRIDE
    sets = (_Sets * 2)(_Sets(mask, mask, mask), _Sets(0, 0, 0))
    _check(libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), sets))
    _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0))


def _check(outcome: int) -> None:
    if outcome != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot give up root: {os.strerror(number)}")


if __name__ == "__main__":
    try:
        numbers = [int(number) for number in sys.argv[1:5]]
        main(numbers[0], numbers[1], numbers[2], numbers[3], sys.argv[5:])
    except OSError as error:
        sys.exit(f"{sys.argv[5]}: {error.strerror}")
