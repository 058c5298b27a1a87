"""What will expire, in Postgres: kept with the log's cursor, claimed when it is time to warn."""

from collections.abc import Sequence
from dataclasses import astuple, fields
from datetime import datetime
from typing import assert_never

from services.notifier.expiry import Expiry, evolve
from shared.envelope import Envelope
from shared.events import (
    ApplicationActivated,
    ApplicationCreated,
    ApplicationDeactivated,
    ApplicationDeleted,
    ApplicationSecretRevoked,
    ApplicationSecretRotated,
    ApplicationUpdated,
    TokensRevoked,
)
from shared.postgres import Connection, Pool, acquired
from shared.subscription import BEGINNING, Cursor

# So many are warned of in one transaction.
BATCH = 200


class Expiries:
    """The table, and the cursor that moves with it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def cursor(self) -> Cursor:
        """Return how far the log has been read for it."""
        row = await self._pool.fetchrow(_CURSOR)
        return BEGINNING if row is None else Cursor(row["log_epoch"], row["position"])

    async def start_over(self, log_epoch: str) -> None:
        """Forget another history."""
        async with acquired(self._pool) as connection, connection.transaction():
            await self.begin_again(connection, log_epoch)

    async def begin_again(self, connection: Connection, log_epoch: str | None) -> None:
        """Have a history read from its beginning, in the caller's transaction."""
        await connection.execute(_SET_CURSOR, log_epoch, 0)
        await connection.execute("DELETE FROM notifier.expiries")

    async def note(
        self, connection: Connection, envelopes: Sequence[Envelope], cursor: Cursor
    ) -> None:
        """Keep what consecutive events change, and the cursor, in the caller's transaction."""
        read = await connection.fetchval(_READ, cursor.log_epoch) or 0
        if read >= cursor.position:
            # By another intake, while this one was away: what it knows is newer.
            return
        changing = [one for one in envelopes if one.position > read and matters(one)]
        ids = list({one.event.application_id for one in changing})
        before: dict[str, tuple[Expiry, ...]] = dict.fromkeys(ids, ())
        if ids:
            for row in await connection.fetch(_OF_APPLICATIONS, ids):
                before[row["application_id"]] += (Expiry(**row),)
        after = dict(before)
        for one in changing:
            name = one.event.application_id
            after[name] = evolve(after[name], one.event, one.time)
        changed = [name for name in ids if after[name] != before[name]]
        if changed:
            await connection.execute(_REMOVE, changed)
            await connection.executemany(
                _ADD, [astuple(expiry) for name in changed for expiry in after[name]]
            )
        await connection.execute(_SET_CURSOR, cursor.log_epoch, cursor.position)

    async def claim_due(
        self, connection: Connection, days: Sequence[int], now: datetime
    ) -> list[Expiry]:
        """Return what it is time to warn of, for the caller alone until its transaction ends."""
        return [Expiry(**row) for row in await connection.fetch(_DUE, list(days), now, BATCH)]

    async def tell(self, connection: Connection, told: Sequence[tuple[str, int]]) -> None:
        """Note of how many days before an end has been told, by id."""
        await connection.executemany(_TELL, told)

    async def soon(self) -> tuple[int, int]:
        """Return how many secrets and applications end within a week, of the first thousand."""
        row = await self._pool.fetchrow(_SOON)
        assert row is not None  # noqa: S101 - an aggregate
        return row["secrets"], row["applications"]

    async def remove_past(self, now: datetime) -> None:
        """Remove what has come to its end: there is nothing to warn of."""
        await self._pool.execute(_REMOVE_PAST, now)


def matters(envelope: Envelope) -> bool:
    """Tell whether an event can change what will expire: most of a long log cannot."""
    match envelope.event:
        case ApplicationCreated() as event:
            return event.expires_at is not None or event.secret.expires_at is not None
        case (
            ApplicationUpdated()
            | ApplicationSecretRotated()
            | ApplicationSecretRevoked()
            | ApplicationDeleted()
        ):
            return True
        case ApplicationActivated() | ApplicationDeactivated() | TokensRevoked():
            return False
        case _:
            assert_never(envelope.event)


_COLUMNS = ", ".join(one.name for one in fields(Expiry))
_CURSOR = "SELECT log_epoch, position FROM notifier.expiry_cursor"
# Locked, so that two intakes at once take turns.
_READ = "SELECT position FROM notifier.expiry_cursor WHERE log_epoch = $1 FOR UPDATE"
_SET_CURSOR = "UPDATE notifier.expiry_cursor SET log_epoch = $1, position = $2"
_OF_APPLICATIONS = f"""
SELECT {_COLUMNS} FROM notifier.expiries WHERE application_id = ANY($1) ORDER BY id
"""  # noqa: S608 - the columns are ours
_REMOVE = "DELETE FROM notifier.expiries WHERE application_id = ANY($1)"
_ADD = f"""
INSERT INTO notifier.expiries ({_COLUMNS})
VALUES ({", ".join(f"${n}" for n in range(1, len(fields(Expiry)) + 1))})
"""  # noqa: S608 - likewise
# Those that another process has claimed are its business.
_DUE = f"""
SELECT {_COLUMNS}
  FROM notifier.expiries AS e
 WHERE expires_at > $2
   AND expires_at <= $2 + (SELECT max(d) FROM unnest($1::integer[]) AS d) * interval '1 day'
   AND EXISTS (SELECT
                 FROM unnest($1::integer[]) AS d
                WHERE e.expires_at - d * interval '1 day' <= $2
                  AND e.expires_at - d * interval '1 day' > e.known_since
                  AND (e.told_days IS NULL OR d < e.told_days))
 ORDER BY expires_at
 LIMIT $3
   FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - likewise
_TELL = "UPDATE notifier.expiries SET told_days = $2 WHERE id = $1"
# By the index on the end, and never further than a thousand: somebody looks every few seconds.
_SOON = """
SELECT count(*) FILTER (WHERE is_secret) AS secrets,
       count(*) FILTER (WHERE NOT is_secret) AS applications
  FROM (SELECT is_secret
          FROM notifier.expiries
         WHERE expires_at > now() AND expires_at <= now() + interval '7 days'
         ORDER BY expires_at
         LIMIT 1000) AS e
"""
_REMOVE_PAST = "DELETE FROM notifier.expiries WHERE expires_at <= $1"
