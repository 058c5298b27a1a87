"""Room on the disk: taken before it is needed, and looked at before it is used up."""

import os
from pathlib import Path

# Of a lock file of LMDB: what it holds of each reader, and a page for the rest.
_READER_BYTES, _HEAD_BYTES = 64, 4096
# Less than this is as good as none: a snapshot of a few thousand clients takes more.
LEAST_BYTES = 2**20


def reserve_lock_file(store: Path, *, readers: int) -> None:
    """Take the room for LMDB's lock file. Raises OSError when there is none.

    LMDB would map a file with nothing behind it, and the process would be killed (SIGBUS) by its
    first write there.
    """
    descriptor = os.open(store / "lock.mdb", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        needed = readers * _READER_BYTES + _HEAD_BYTES
        # Of one that others have open nothing may be written, as a file system that cannot reserve
        # would have it.
        if os.fstat(descriptor).st_size < needed:
            os.posix_fallocate(descriptor, 0, needed)
    finally:
        os.close(descriptor)


def lack_of_room(folder: Path) -> str | None:
    """Return what to say of a disk that is full, None while there is room."""
    try:
        found = os.statvfs(folder)
    except OSError:
        # Said by whoever needs the folder.
        return None
    free = found.f_bavail * found.f_frsize
    if free >= LEAST_BYTES:
        return None
    return f"no room on the disk of {folder}: {free // 1024} KiB are free; make room"
