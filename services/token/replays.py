"""What may be used once: assertions and proofs, remembered until they have expired.

In LMDB, since all workers of a host have to know. Lost with the power, and not shared with other
hosts: there a copy is good until it expires.
"""

import hashlib
import shutil
import struct
from pathlib import Path

import lmdb

from services.token.errors import NoRoom
from services.token.projection import ProjectionUnusable
from shared.logs import get_logger

# A digest and a moment: room for some five million.
MAP_BYTES = 2**29
# How many that have expired are removed with each that is added.
SWEEP = 4
log = get_logger(__name__)
_MOMENT = struct.Struct(">d")


class Replays:
    """Digests of what was seen, each with the moment from which on it may be forgotten."""

    def __init__(self, folder: Path, *, map_size: int = MAP_BYTES) -> None:
        """Open the store, a new one in the place of one that is damaged.

        Raises ProjectionUnusable.
        """
        try:
            try:
                self._open(folder, map_size)
            except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError):
                # As after a loss of power: what was in it is forgotten.
                log.warning("what was used once is forgotten: the store was damaged")
                shutil.rmtree(folder)
                self._open(folder, map_size)
        except (OSError, lmdb.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            message = f"{folder}: cannot be opened ({reason}); check owner and free space"
            raise ProjectionUnusable(message) from None

    def _open(self, folder: Path, map_size: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._environment = lmdb.open(
            str(folder), map_size=map_size, max_dbs=2, sync=False, metasync=False, mode=0o600
        )
        self._seen = self._environment.open_db(b"seen")
        self._by_time = self._environment.open_db(b"by_time")

    def close(self) -> None:
        """Close the store."""
        self._environment.close()

    def is_new(self, name: str, *, until: float, now: float) -> bool:
        """Remember a name until a moment (Unix time); tell whether it was not known.

        Raises NoRoom.
        """
        # JSON can bring halves of characters, which are no UTF-8.
        key = hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:20]
        try:
            with self._environment.begin(write=True) as transaction:
                found = transaction.get(key, db=self._seen)
                if found is not None and _MOMENT.unpack(found)[0] > now:
                    return False
                self._sweep(transaction, now)
                moment = _MOMENT.pack(until)
                transaction.put(key, moment, db=self._seen)
                transaction.put(moment + key, b"", db=self._by_time)
                return True
        except lmdb.MapFullError:
            raise NoRoom(reason="no room to remember assertions and proofs") from None

    def _sweep(self, transaction: lmdb.Transaction, now: float) -> None:
        cursor = transaction.cursor(db=self._by_time)
        for _ in range(SWEEP):
            if not cursor.first():
                return
            entry = cursor.key()
            if _MOMENT.unpack(entry[: _MOMENT.size])[0] > now:
                return
            cursor.delete()
            key = entry[_MOMENT.size :]
            kept = transaction.get(key, db=self._seen)
            # It may have been seen again since, and be good for longer.
            if kept is not None and _MOMENT.unpack(kept)[0] <= now:
                transaction.delete(key, db=self._seen)

    def __len__(self) -> int:
        with self._environment.begin() as transaction:
            entries: int = transaction.stat(self._seen)["entries"]
            return entries
