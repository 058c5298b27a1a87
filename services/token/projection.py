"""The clients in LMDB: one store that every worker process of a host reads.

Rows and cursor are written in one transaction, so the store is always the fold of the log up to
its cursor. It can be made anew from the registry at any time.
"""

import asyncio
import contextlib
import ctypes
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import lmdb
import msgspec

from services.token import freshness
from services.token.domain import evolve
from services.token.file_lock import locked
from services.token.room import reserve_lock_file
from shared.clients import ClientRecord, SnapshotHead, checksum
from shared.envelope import Envelope
from shared.failures import PermanentFailure, TransientFailure
from shared.logs import get_logger
from shared.recurring import Recurring
from shared.setting_values import ConfigurationError
from shared.subscription import Cursor

# Of the rows. Raise it when ClientRecord changes so that old rows mean something else.
FORMAT = 3
READERS = 512
# How much of a snapshot is written between two looks at the network.
SNAPSHOT_ROWS = 2000
# That nothing is new is written at most this often.
CONFIRM_SECONDS = 5.0
# A store that could not be opened is tried again this often.
OPEN_SECONDS = 1.0
log = get_logger(__name__)


class ProjectionUnavailable(TransientFailure):
    """The store cannot be written now; the reason says what to do."""


class CursorMoved(TransientFailure):
    """Another program moved the projection's cursor: it has to be read again."""


class ProjectionUnusable(ConfigurationError):
    """The store cannot be opened where it is configured to be."""


class ProjectionDamaged(PermanentFailure):
    """The store is not a projection that this version can read."""


class _State(msgspec.Struct, frozen=True, kw_only=True):
    """The cursor, and when it was last known to be at the head of the log."""

    log_epoch: str | None = None
    position: int = 0
    confirmed: freshness.Moment | None = None
    format: int = 0

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.log_epoch, self.position)


_encode = msgspec.msgpack.Encoder().encode
_decode_client = msgspec.msgpack.Decoder(ClientRecord).decode
_decode_state = msgspec.msgpack.Decoder(_State).decode
_STATE = b"state"
_EMPTY = _State(format=FORMAT)


class Projection:
    """Reads are for everybody and take about two microseconds; writes are the projector's."""

    def __init__(
        self,
        folder: Path,
        *,
        map_size: int,
        confirm_seconds: float = CONFIRM_SECONDS,
        repair: bool = True,
        waits: bool = False,
    ) -> None:
        """Open the store; `repair` replaces one that is damaged by an empty one.

        With `waits` one that cannot be opened is never fresh, and knows nobody, until
        `open_when_possible` has opened it. Raises ProjectionUnusable (only without `waits`), and
        ProjectionDamaged (only without `repair`).
        """
        self._folder = folder
        self._map_size = map_size
        self._confirm_seconds = confirm_seconds
        self._repair = repair
        self._environment: Any = _NotOpen()
        self._clients: Any = None
        self._meta: Any = None
        self.trouble: str | None = None
        try:
            self._open()
        except ProjectionUnusable as error:
            if not waits:
                raise
            self.trouble = str(error)
        # LMDB waits for the disk at commit: never in the event loop, and never two at a time.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="projection")

    def _open(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._environment, self._clients, self._meta = _open(
                self._folder, self._map_size, repair=self._repair
            )
        except (OSError, lmdb.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            message = (
                f"token.projection: {self._folder} cannot be opened ({reason}); "
                "check the folder and its owner, the free space, and token.projection_map_size"
            )
            raise ProjectionUnusable(message) from None

    async def open_when_possible(self) -> None:
        """Try again what did not succeed, and return once the store is open."""
        closed = Recurring(log, "projection cannot be opened", over="projection opened")
        while self.trouble is not None:
            closed.say(self.trouble)
            await asyncio.sleep(OPEN_SECONDS)
            try:
                self._open()
            except ProjectionUnusable as error:
                self.trouble = str(error)
            else:
                self.trouble = None
        closed.over()

    def close(self) -> None:
        """Finish what is being written and close the store."""
        self._writer.shutdown()
        self._environment.close()

    def client(self, client_id: str) -> ClientRecord | None:
        """Return a client, or None."""
        try:
            with self._environment.begin(db=self._clients, buffers=True) as transaction:
                row = transaction.get(client_id.encode())
                return None if row is None else _decode_client(row)
        except ProjectionUnavailable:
            return None

    def cursor(self) -> Cursor:
        """Return how far the store has come. Raises ProjectionUnavailable while it is not open."""
        return self._state().cursor

    def staleness(self) -> float:
        """Return seconds since the store was known to be at the head; infinite before the first."""
        try:
            confirmed = self._state().confirmed
        except ProjectionUnavailable:
            return freshness.NEVER
        return freshness.seconds_between(confirmed, freshness.now())

    def count(self) -> int:
        """Return the number of clients."""
        with self._environment.begin() as transaction:
            entries: int = transaction.stat(self._clients)["entries"]
            return entries

    def checksum(self) -> tuple[Cursor, str]:
        """Return the cursor and the checksum of all clients at it (`shared.clients.checksum`).

        Raises ProjectionDamaged.
        """
        with self._environment.begin(db=self._clients) as transaction:
            rows = transaction.cursor().iternext(keys=False, values=True)
            try:
                return self._state_in(transaction).cursor, checksum(map(_decode_client, rows))
            except msgspec.MsgspecError:
                raise ProjectionDamaged("the projection holds a row that is no client") from None

    async def apply(self, envelopes: Sequence[Envelope], cursor: Cursor) -> None:
        """Apply consecutive events and store the cursor, in one transaction.

        Raises ProjectionUnavailable, and CursorMoved when they do not follow what is stored.
        """
        await self._write(lambda transaction: self._apply(transaction, envelopes, cursor))

    async def confirm(self, cursor: Cursor) -> None:
        """Note that the cursor is at the head of the log now. Raises what `apply` raises."""
        if self.cursor() == cursor and self.staleness() < self._confirm_seconds:
            return
        await self._write(lambda transaction: self._confirm(transaction, cursor))

    async def replace_all(
        self,
        head: SnapshotHead,
        records: AsyncIterator[ClientRecord],
        *,
        only_forward: bool = False,
    ) -> None:
        """Put a snapshot in place of everything, in one transaction: all of it or nothing.

        The snapshot has just been begun, so its head is the log's at this moment. `only_forward`
        raises CursorMoved when the store is further already in the same history.
        """
        state = _State(
            log_epoch=head.log_epoch,
            position=head.position,
            confirmed=freshness.now(),
            format=FORMAT,
        )
        # A list, so that one that began after we were cancelled is found and ended all the same.
        begun: list[lmdb.Transaction] = []

        def begin() -> None:
            begun.append(self._environment.begin(write=True))
            before = self._state_in(begun[0])
            is_further = before.log_epoch == head.log_epoch and before.position > head.position
            if only_forward and is_further:
                raise CursorMoved("newer events were applied while the snapshot was taken")
            begun[0].drop(self._clients, delete=False)

        def end() -> None:
            self._put_state(begun[0], state)
            begun[0].commit()
            _lengthen(self._environment)

        def abandon() -> None:
            for transaction in begun:
                transaction.abort()

        try:
            await self._in_writer(begin)
            async for rows in _in_runs(records):
                await self._in_writer(self._append, begun[0], rows)
            await self._in_writer(end)
        except BaseException:
            # Not awaited: a cancelled task must not leave the store locked.
            self._writer.submit(abandon)
            raise
        self._give_back_memory()

    def _give_back_memory(self) -> None:
        """Open the store anew: LMDB keeps what the largest transaction needed, half a gigabyte."""
        self._open_again()
        # What was freed stays with the process until it is asked for; not every C library can.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)

    def _open_again(self) -> None:
        # Nobody reads meanwhile: readers of this process are in this thread.
        self._environment.close()
        self._environment = _NotOpen()
        try:
            self._open()
        except ProjectionUnusable as error:
            self.trouble = str(error)
            raise ProjectionUnavailable(self.trouble) from None

    def _open_again_if_given_up(self) -> None:
        """Help LMDB out of a failure after which it lets this process neither read nor write."""
        try:
            with self._environment.begin():
                pass
        except lmdb.PanicError:
            self._open_again()

    async def _write(self, work: Callable[[lmdb.Transaction], None]) -> None:
        def transact() -> None:
            with self._environment.begin(write=True) as transaction:
                work(transaction)
            _lengthen(self._environment)

        await self._in_writer(transact)

    async def _in_writer(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, work, *arguments)
        except lmdb.MapFullError:
            message = (
                f"the projection is full at {self._map_size} bytes: raise token.projection_map_size"
            )
            raise ProjectionUnavailable(message) from None
        except lmdb.Error as error:
            self._open_again_if_given_up()
            message = (
                f"the projection cannot be written ({error}): make room on the disk of "
                f"{self._folder}"
            )
            raise ProjectionUnavailable(message) from None

    def _apply(
        self, transaction: lmdb.Transaction, envelopes: Sequence[Envelope], cursor: Cursor
    ) -> None:
        before = self._state_in(transaction)
        # A rebuild from outside may have gone further than the one who applies knows.
        new = [one for one in envelopes if one.position > before.position]
        follows = not new or new[0].position == before.position + 1
        if before.log_epoch != cursor.log_epoch or not follows:
            raise CursorMoved("the projection was changed by another program")
        # All rows of a run in one call each way, in the order of the store: a call for every row
        # would hand the interpreter's lock back and forth with the event loop.
        with transaction.cursor(db=self._clients) as rows:
            keys = sorted({one.event.client_id.encode() for one in new})
            clients: dict[str, ClientRecord | None] = {
                bytes(key).decode(): _decode_client(row) for key, row in rows.getmulti(keys)
            }
            for one in new:
                client_id = one.event.client_id
                clients[client_id] = evolve(clients.get(client_id), one.event, one.private)
            kept = [
                (client_id.encode(), _encode(record))
                for client_id, record in sorted(clients.items())
                if record is not None
            ]
            rows.putmulti(kept)
            for client_id, record in clients.items():
                if record is None:
                    transaction.delete(client_id.encode(), db=self._clients)
        if new:
            # The events are applied; that nothing came after them is for `confirm` to say.
            position = new[-1].position
            self._put_state(transaction, msgspec.structs.replace(before, position=position))

    def _confirm(self, transaction: lmdb.Transaction, cursor: Cursor) -> None:
        before = self._state_in(transaction)
        if before.cursor != cursor:
            raise CursorMoved("the projection was changed by another program")
        state = msgspec.structs.replace(before, confirmed=freshness.now())
        self._put_state(transaction, state)

    def _append(self, transaction: lmdb.Transaction, rows: list[tuple[bytes, bytes]]) -> None:
        with transaction.cursor(db=self._clients) as cursor:
            _, added = cursor.putmulti(rows, append=True)
        if added != len(rows):
            raise ProjectionUnavailable("the snapshot is not ordered by client_id")

    def _state(self) -> _State:
        with self._environment.begin() as transaction:
            return self._state_in(transaction)

    def _state_in(self, transaction: lmdb.Transaction) -> _State:
        row = transaction.get(_STATE, db=self._meta)
        return _EMPTY if row is None else _decode_state(row)

    def _put_state(self, transaction: lmdb.Transaction, state: _State) -> None:
        transaction.put(_STATE, _encode(state), db=self._meta)


class _NotOpen:
    """Stands where the store will be."""

    def begin(self, **_: object) -> NoReturn:
        raise ProjectionUnavailable("the projection is not open")

    def close(self) -> None:
        return


async def _in_runs(
    records: AsyncIterator[ClientRecord],
) -> AsyncIterator[list[tuple[bytes, bytes]]]:
    rows: list[tuple[bytes, bytes]] = []
    async for record in records:
        rows.append((record.client_id.encode(), _encode(record)))
        if len(rows) == SNAPSHOT_ROWS:
            yield rows
            rows = []
    yield rows


def _open(folder: Path, map_size: int, *, repair: bool) -> tuple[lmdb.Environment, Any, Any]:
    """Open the store. One that is damaged or not ours is put away: the registry has it all."""
    store = folder / "lmdb"
    # Two workers that start together must not each put away what the other has just made.
    with locked(folder / "open.lock"):
        try:
            return _open_sound(store, map_size)
        except ProjectionDamaged as error:
            if not repair:
                raise
            reason = str(error)
            log.warning("projection not usable, making it anew from the registry", reason=reason)
            if store.is_dir():
                shutil.rmtree(store)
            else:
                store.unlink()
            return _open_sound(store, map_size)


def _open_sound(store: Path, map_size: int) -> tuple[lmdb.Environment, Any, Any]:
    if store.exists() and not store.is_dir():
        message = f"{store}: not a folder"
        raise ProjectionDamaged(message)
    # LMDB would give the folder the mode of the files, and only root could enter it.
    store.mkdir(mode=0o700, exist_ok=True)
    reserve_lock_file(store, readers=READERS)
    environment = None
    try:
        environment = lmdb.open(
            str(store),
            map_size=map_size,
            max_dbs=2,
            max_readers=READERS,
            # The last transactions may be lost with the power, but never half of one.
            metasync=False,
            mode=0o600,
        )
        _require_whole(store, environment)
        # Readers that were killed would keep old pages from being used again.
        environment.reader_check()
        clients, meta = environment.open_db(b"clients"), environment.open_db(b"meta")
        with environment.begin() as transaction:
            row = transaction.get(_STATE, db=meta)
            found = FORMAT if row is None else _decode_state(row).format
    except (
        lmdb.InvalidError,
        lmdb.CorruptedError,
        lmdb.PageNotFoundError,
        lmdb.VersionMismatchError,
        lmdb.IncompatibleError,
        msgspec.MsgspecError,
        ProjectionDamaged,
    ) as error:
        if environment is not None:
            environment.close()
        message = f"{store}: not a projection ({error})"
        raise ProjectionDamaged(message) from None
    except lmdb.Error:
        if environment is not None:
            # One that stays open cannot be opened again.
            environment.close()
        raise
    if found != FORMAT:
        environment.close()
        message = f"{store}: written by another version of oauthapps"
        raise ProjectionDamaged(message)
    return environment, clients, meta


def _require_whole(store: Path, environment: lmdb.Environment) -> None:
    """Raise ProjectionDamaged when the file ends early: LMDB would die of a page beyond it."""
    if (store / "data.mdb").stat().st_size < _needed(environment):
        raise ProjectionDamaged("the file ends early")


def _lengthen(environment: lmdb.Environment) -> None:
    """Let the file reach to its last page, which is not written when nothing is on it any more."""
    file = Path(environment.path(), "data.mdb")
    # What was to be written is: if this fails, the store is made anew when it is opened next.
    with contextlib.suppress(OSError):
        if file.stat().st_size < _needed(environment):
            # In a transaction, so that nobody has written more when it is set to this length.
            with environment.begin(write=True):
                if file.stat().st_size < (needed := _needed(environment)):
                    os.truncate(file, needed)


def _needed(environment: lmdb.Environment) -> int:
    """Return how many bytes the pages take that LMDB counts."""
    pages: int = environment.info()["last_pgno"] + 1
    return pages * environment.stat()["psize"]
