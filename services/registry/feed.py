"""The log as a feed: pages of events after a position, with a long poll for what comes next.

Postgres renders the internal form itself: a page is then a join of texts, which is what lets an
empty projection catch up fast.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg

from services.registry.event_store import CHANNEL
from shared.clients import SnapshotHead
from shared.database_words import reason_of
from shared.envelope import Page, decode_page, encode_json
from shared.feed_client import SNAPSHOT_END
from shared.logs import get_logger
from shared.postgres import POSTGRES_ERRORS, Pool, Url, connect

# Without a wake-up (a LISTEN connection can die in silence) new events are seen this late at worst.
POLL_SECONDS = 1.0
RECONNECT_SECONDS = 1.0
SNAPSHOT_ROWS = 1000
SNAPSHOT_SILENCE_SECONDS = 30
log = get_logger(__name__)

# Head and events in one statement, so that they belong together. The rows are the internal form,
# put together as text: numbers, UUIDs, names of types and what is JSON already need no escaping,
# and json_build_object takes half as long again.
_PAGE = """
SELECT h.epoch::text AS epoch,
       h.position    AS head,
       ARRAY (SELECT concat('{"position":',   e.position,
                            ',"id":"',        e.id,
                            '","stream":"',   e.stream,
                            '","version":',   e.version,
                            ',"type":"',      e.type,
                            '","time":',      to_json(e.time),
                            ',"data":',       e.data,
                            ',"private":',    coalesce(e.private::text, 'null'),
                            ',"metadata":',   e.metadata,
                            '}')
                FROM registry.events e
               WHERE e.position > $1 AND e.position <= h.position
               ORDER BY e.position
               LIMIT $2)  AS events
  FROM registry.log_head h
"""


class Wakeup:
    """Tells everybody who waits that the log has grown."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def __call__(self) -> None:
        """Wake all that wait now."""
        self._next.set()
        self._next = asyncio.Event()

    @property
    def coming(self) -> asyncio.Event:
        """What is set when the log grows. Take it before reading, or what comes then is missed."""
        return self._next

    @staticmethod
    async def wait(coming: asyncio.Event, seconds: float, *, stopping: asyncio.Event) -> None:
        """Return when the log has grown, after so many seconds, or when the service stops."""
        waits = {asyncio.ensure_future(coming.wait()), asyncio.ensure_future(stopping.wait())}
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()


class Feed:
    """Reads the log for subscribers, always from the primary."""

    def __init__(self, pool: Pool, wakeup: Wakeup, stopping: asyncio.Event) -> None:
        self._pool = pool
        self._wakeup = wakeup
        self._stopping = stopping

    async def internal(self, after: int, limit: int, wait: float) -> bytes:
        """Return a page in the internal form, as JSON."""
        row = await self._waited(after, limit, wait)
        head = f'{{"log_epoch":"{row["epoch"]}","head":{row["head"]},"events":['
        return (head + ",".join(row["events"]) + "]}").encode()

    async def page(self, after: int, limit: int, wait: float) -> Page:
        """Return a page as envelopes."""
        return decode_page(await self.internal(after, limit, wait))

    async def _waited(self, after: int, limit: int, wait: float) -> asyncpg.Record:
        """Read; while there is nothing and time is left, wait for the log to grow and read again.

        No database connection is held while waiting.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            coming = self._wakeup.coming
            row = await self._pool.fetchrow(_PAGE, after, limit)
            assert row is not None  # noqa: S101 - the first migration made the row
            left = deadline - loop.time()
            # A subscriber ahead of the head comes from another history: it must hear so at once.
            if row["events"] or left <= 0 or after > row["head"] or self._stopping.is_set():
                return row
            await self._wakeup.wait(coming, min(left, POLL_SECONDS), stopping=self._stopping)


async def listen(dsn: Url, wakeup: Callable[[], None]) -> None:
    """Wake long polls when another process has appended, until cancelled."""
    while True:
        try:
            connection = await connect(dsn)
        except POSTGRES_ERRORS:
            # Also one that is up and refuses us, as in a failover or while it is being restored.
            await asyncio.sleep(RECONNECT_SECONDS)
            continue
        try:
            await connection.add_listener(CHANNEL, lambda *_: wakeup())
            while not connection.is_closed():
                await asyncio.sleep(RECONNECT_SECONDS)
                # Found dead here rather than never.
                await connection.execute("SELECT 1")
        except POSTGRES_ERRORS as error:
            log.info("wake-up connection lost", reason=reason_of(error))
        finally:
            connection.terminate()


# A reader that takes no more must not keep a connection and a transaction for ever.
_BOUND_SILENCE = f"SET LOCAL idle_in_transaction_session_timeout = '{SNAPSHOT_SILENCE_SECONDS}s'"
_SNAPSHOT_HEAD = "SELECT epoch::text AS log_epoch, position FROM registry.log_head"

# One line a client, ordered as LMDB orders them, secrets as they were added: the fold of the events
# gives the same.
_SNAPSHOT = """
SELECT json_build_object(
           'client_id',       a.client_id,
           'application_id',  a.id,
           'organization_id', a.organization_id,
           'owner_id',        a.owner_id,
           'active',          a.active,
           'scopes',          a.scopes,
           'secrets',         coalesce((SELECT json_agg(json_build_object(
                                                            'id',         s.id,
                                                            'digest',     s.digest,
                                                            'expires_at', s.expires_at)
                                                        ORDER BY s.position)
                                          FROM registry.application_secrets s
                                         WHERE s.application_id = a.id), '[]'),
           'not_before',      a.not_before,
           'expires_at',      a.expires_at,
           'keys',            a.keys,
           'token_seconds',   a.token_seconds,
           'revoked',         a.revoked)::text
  FROM registry.applications a
 ORDER BY a.client_id
"""


async def snapshot(pool: Pool) -> AsyncIterator[bytes]:
    """Yield all clients at one position, a JSON line each, between a head and an end line."""
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.execute(_BOUND_SILENCE)
        head = await connection.fetchrow(_SNAPSHOT_HEAD)
        assert head is not None  # noqa: S101 - the first migration made the row
        yield encode_json(SnapshotHead(**dict(head))) + b"\n"
        lines: list[str] = []
        async for row in connection.cursor(_SNAPSHOT, prefetch=SNAPSHOT_ROWS):
            lines.append(row[0])
            if len(lines) == SNAPSHOT_ROWS:
                yield ("\n".join(lines) + "\n").encode()
                lines.clear()
        yield "\n".join([*lines, SNAPSHOT_END, ""]).encode()
