"""How long ago something was confirmed, though processes restart and clocks are set."""

import contextlib
import os
import time
from pathlib import Path

import msgspec

NEVER = float("inf")


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A point in time that another process can measure from, also after a reboot.

    `boot_seconds` counts since `boot_id`, and setting the clock does not move it; `wall_seconds`
    since 1970 is for when another boot comes to read it.
    """

    boot_id: str
    boot_seconds: float
    wall_seconds: float


def now() -> Moment:
    """Return this moment."""
    return Moment(
        boot_id=_BOOT_ID, boot_seconds=time.clock_gettime(_BOOT_CLOCK), wall_seconds=time.time()
    )


def seconds_between(earlier: Moment | None, later: Moment) -> float:
    """Return how long it has been; NEVER when there is no telling."""
    if earlier is None:
        return NEVER
    if earlier.boot_id == later.boot_id:
        return max(0.0, later.boot_seconds - earlier.boot_seconds)
    elapsed = later.wall_seconds - earlier.wall_seconds
    # A clock that went back over a reboot bounds nothing.
    return elapsed if elapsed >= 0 else NEVER


def _read_boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    # Without one no two processes agree, and the wall clock decides between them.
    return os.urandom(16).hex()


_BOOT_ID = _read_boot_id()
# Goes on while the machine sleeps, where there is such a clock.
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
