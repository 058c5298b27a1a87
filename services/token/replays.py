"""What may be used once: assertions and proofs, remembered until they have expired.

In LMDB, since all workers of a host have to know. Lost with the power, and not shared with other
hosts: there a copy is good until it expires.
"""

import hashlib
import shutil
import struct
import time
from contextlib import suppress
from pathlib import Path

import lmdb

from services.token.errors import NoRoom
from services.token.file_lock import locked
from services.token.room import reserve_lock_file
from shared.logs import get_logger
from shared.recurring import Recurring

# A digest and a moment: room for some five million.
MAP_BYTES = 2**29
# How many that have expired are removed with each that is added.
SWEEP = 4
READERS = 126
log = get_logger(__name__)
_MOMENT = struct.Struct(">d")


class Replays:
    """Digests of what was seen, each with the moment from which on it may be forgotten.

    While nothing can be written down, nothing is let pass.
    """

    def __init__(self, folder: Path, *, map_size: int = MAP_BYTES) -> None:
        """Open the store, a new one in the place of one that is damaged; or do so later."""
        self._folder = folder
        self._map_size = map_size
        self._environment: lmdb.Environment | None = None
        self._trouble: str | None = None
        self._failing = Recurring(
            log,
            "assertions and proofs are refused",
            over="assertions and proofs are looked at again",
        )
        with suppress(NoRoom):
            self._opened()

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written down, None when it can: tried anew while it could not."""
        if self._trouble is not None:
            with suppress(NoRoom):
                self.is_new("", until=0.0, now=time.time())
        return self._trouble

    def close(self) -> None:
        """Close the store."""
        if self._environment is not None:
            self._environment.close()

    def is_new(self, name: str, *, until: float, now: float) -> bool:
        """Remember a name until a moment (Unix time); tell whether it was not known.

        Raises NoRoom.
        """
        environment = self._opened()
        # JSON can bring halves of characters, which are no UTF-8.
        key = hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:20]
        try:
            with environment.begin(write=True) as transaction:
                found = transaction.get(key, db=self._seen)
                if found is not None and _MOMENT.unpack(found)[0] > now:
                    return False
                self._sweep(transaction, now)
                moment = _MOMENT.pack(until)
                transaction.put(key, moment, db=self._seen)
                transaction.put(moment + key, b"", db=self._by_time)
        except lmdb.MapFullError:
            raise self._failed("the store is full until some have expired") from None
        except lmdb.Error as error:
            if isinstance(error, lmdb.PanicError):
                # LMDB has given up, and goes on when it is opened again.
                self.close()
                self._environment = None
            raise self._failed(f"{error}; make room on its disk") from None
        self._trouble = None
        self._failing.over()
        return True

    def _opened(self) -> lmdb.Environment:
        if self._environment is None:
            try:
                self._environment = self._open_or_replace()
            except (OSError, lmdb.Error) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                message = f"cannot be opened ({reason}); check owner and free space"
                raise self._failed(message) from None
        return self._environment

    def _open_or_replace(self) -> lmdb.Environment:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        # Two workers that start together must not each put away what the other has just made: each
        # would know of its own half only.
        with locked(self._folder.with_name(f"{self._folder.name}.lock")):
            try:
                return self._open()
            except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError):
                # As after a loss of power: what was in it is forgotten.
                log.warning("what was used once is forgotten: the store was damaged")
                shutil.rmtree(self._folder)
                return self._open()

    def _open(self) -> lmdb.Environment:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        reserve_lock_file(self._folder, readers=READERS)
        environment = lmdb.open(
            str(self._folder),
            map_size=self._map_size,
            max_dbs=2,
            max_readers=READERS,
            sync=False,
            metasync=False,
            mode=0o600,
        )
        try:
            self._seen = environment.open_db(b"seen")
            self._by_time = environment.open_db(b"by_time")
        except lmdb.Error:
            environment.close()
            raise
        return environment

    def _failed(self, reason: str) -> NoRoom:
        self._trouble = f"no room to remember assertions and proofs: {self._folder}: {reason}"
        self._failing.say(self._trouble)
        return NoRoom(reason=self._trouble)

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
        with self._opened().begin() as transaction:
            entries: int = transaction.stat(self._seen)["entries"]
            return entries
