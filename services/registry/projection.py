"""The read model `registry.applications`: what an append may not contradict, and how it changes.

Both run inside the transaction that appends, under the log's lock, so what they see is all there
is. The table below is event → statement over all events of that type in a batch.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from services.registry.domain import RegistryError
from shared.envelope import Envelope
from shared.events import (
    ApplicationActivated,
    ApplicationCreated,
    ApplicationDeactivated,
    ApplicationDeleted,
    ApplicationSecretRevoked,
    ApplicationSecretRotated,
    ApplicationUpdated,
    Event,
    TokensRevoked,
)
from shared.postgres import Connection


class NameTaken(RegistryError):
    """The application with the given name already exists."""


class OwnerUnavailable(RegistryError):
    """The owner or the organization is disabled, or the owner does not belong to it."""


# Which of these would contradict what is: a name twice, an application nobody may have.
_CHECK = """
SELECT EXISTS (SELECT FROM registry.applications a
                WHERE a.owner_id        = c.owner_id
                  AND a.organization_id = c.organization_id
                  AND a.name            = c.name
                  AND a.id             <> c.stream) AS taken,
       EXISTS (SELECT FROM registry.memberships m
                 JOIN registry.users         u ON u.id = m.user_id         AND u.active
                 JOIN registry.organizations o ON o.id = m.organization_id AND o.active
                WHERE m.user_id         = c.owner_id
                  AND m.organization_id = c.organization_id) AS available
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[])
       WITH ORDINALITY AS c (stream, owner_id, organization_id, name, n)
 ORDER BY n
"""

NAMING_EVENTS = (ApplicationCreated, ApplicationUpdated)
_NEEDS_OWNER = (ApplicationCreated, ApplicationActivated)


async def check(connection: Connection, events: Sequence[Event]) -> list[RegistryError | None]:
    """Return for each event why it cannot be appended, or None."""
    asked = [
        index
        for index, event in enumerate(events)
        if isinstance(event, NAMING_EVENTS + _NEEDS_OWNER)
    ]
    outcome: list[RegistryError | None] = [None] * len(events)
    if not asked:
        return outcome
    subjects = [events[index] for index in asked]
    rows = await connection.fetch(
        _CHECK,
        [one.application_id for one in subjects],
        [one.owner_id for one in subjects],
        [one.organization_id for one in subjects],
        [one.name for one in subjects],
    )
    for index, event, row in zip(asked, subjects, rows, strict=True):
        if isinstance(event, _NEEDS_OWNER) and not row["available"]:
            outcome[index] = OwnerUnavailable()
        elif isinstance(event, NAMING_EVENTS) and row["taken"]:
            outcome[index] = NameTaken()
    return outcome


async def apply(connection: Connection, envelopes: Iterable[Envelope]) -> None:
    """Bring the read model up to what was appended, a statement for each type of event."""
    for run in _runs(envelopes):
        await _STATEMENTS[type(run[0].event)](connection, run)


def _runs(envelopes: Iterable[Envelope]) -> Iterable[list[Envelope]]:
    """Group by type; only the order within a stream matters, and it is kept."""
    rounds: list[dict[type, list[Envelope]]] = []
    seen: dict[str, int] = {}
    for envelope in envelopes:
        nth = seen.get(envelope.stream, 0)
        seen[envelope.stream] = nth + 1
        if nth == len(rounds):
            rounds.append({})
        rounds[nth].setdefault(type(envelope.event), []).append(envelope)
    return [run for one_round in rounds for run in one_round.values()]


def _facts(run: Sequence[Envelope]) -> tuple[list[Any], list[Any], list[Any]]:
    """Return what every statement needs: which application, its version now, and when."""
    return (
        [one.stream for one in run],
        [one.version for one in run],
        [one.time for one in run],
    )


_CREATE = """
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::text[], $5::uuid[],
                         $6::uuid[], $7::text[], $8::boolean[], $9::text[], $10::uuid[],
                         $11::text[], $12::text[], $13::timestamptz[], $14::timestamptz[],
                         $15::bigint[])
        AS one (id, version, time, client_id, organization_id,
                owner_id, name, active, scopes, secret_id,
                hint, digest, secret_created_at, expires_at,
                position)
), application AS (
    INSERT INTO registry.applications (id, client_id, organization_id, owner_id, name, active,
                                       scopes, created_at, updated_at, version)
    SELECT id, client_id, organization_id, owner_id, name, active,
           string_to_array(scopes, ' '), time, time, version
      FROM given
)
INSERT INTO registry.application_secrets (id, application_id, hint, digest, created_at, expires_at,
                                          position)
SELECT secret_id, id, hint, digest, secret_created_at, expires_at, position FROM given
"""


async def _created(connection: Connection, run: Sequence[Envelope]) -> None:
    events: list[Any] = [one.event for one in run]
    await connection.execute(
        _CREATE,
        *_facts(run),
        [one.client_id for one in events],
        [one.organization_id for one in events],
        [one.owner_id for one in events],
        [one.name for one in events],
        [one.active for one in events],
        [" ".join(one.scopes) for one in events],
        [one.secret.id for one in events],
        [one.secret.hint for one in events],
        [one.private.secret_digest or "" for one in run],
        [one.secret.created_at for one in events],
        [one.secret.expires_at for one in events],
        [one.position for one in run],
    )


_UPDATE = """
UPDATE registry.applications a
   SET {assignment}, version = c.version, updated_at = c.time
  FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::{type}[])
       AS c (id, version, time, value)
 WHERE a.id = c.id
"""
_RENAME = _UPDATE.format(assignment="name = c.value", type="text")
_SET_ACTIVE = _UPDATE.format(assignment="active = c.value", type="boolean")
_SET_NOT_BEFORE = _UPDATE.format(assignment="not_before = c.value", type="timestamptz")
_TOUCH = _UPDATE.format(assignment="id = c.value", type="uuid")


async def _updated(connection: Connection, run: Sequence[Envelope]) -> None:
    await connection.execute(_RENAME, *_facts(run), [one.event.name for one in run])


async def _activated(connection: Connection, run: Sequence[Envelope]) -> None:
    await connection.execute(_SET_ACTIVE, *_facts(run), [True] * len(run))


async def _deactivated(connection: Connection, run: Sequence[Envelope]) -> None:
    await connection.execute(_SET_ACTIVE, *_facts(run), [False] * len(run))


_DELETE = """
WITH secret AS (DELETE FROM registry.application_secrets WHERE application_id = ANY ($1::uuid[]))
DELETE FROM registry.applications WHERE id = ANY ($1::uuid[])
"""


async def _deleted(connection: Connection, run: Sequence[Envelope]) -> None:
    await connection.execute(_DELETE, [one.stream for one in run])


_EXPIRE_OTHERS = """
UPDATE registry.application_secrets s
   SET expires_at = least(s.expires_at, c.expires_at)
  FROM unnest($1::uuid[], $2::timestamptz[]) AS c (application_id, expires_at)
 WHERE s.application_id = c.application_id
"""
# By the new secret's time, not by the clock: the same log always gives the same read model.
_DROP_EXPIRED = """
DELETE FROM registry.application_secrets s
 USING unnest($1::uuid[], $2::timestamptz[]) AS c (application_id, now)
 WHERE s.application_id = c.application_id AND s.expires_at <= c.now
"""
_ADD_ANOTHER = """
INSERT INTO registry.application_secrets (id, application_id, hint, digest, created_at, expires_at,
                                          position)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[],
                     $6::timestamptz[], $7::bigint[])
"""


async def _secret_rotated(connection: Connection, run: Sequence[Envelope]) -> None:
    events: list[Any] = [one.event for one in run]
    streams, versions, times = _facts(run)
    await connection.execute(_EXPIRE_OTHERS, streams, [one.others_expire_at for one in events])
    await connection.execute(_DROP_EXPIRED, streams, [one.secret.created_at for one in events])
    await connection.execute(
        _ADD_ANOTHER,
        [one.secret.id for one in events],
        streams,
        [one.secret.hint for one in events],
        [one.private.secret_digest or "" for one in run],
        [one.secret.created_at for one in events],
        [one.secret.expires_at for one in events],
        [one.position for one in run],
    )
    await connection.execute(_TOUCH, streams, versions, times, streams)


_REVOKE_SECRETS = "DELETE FROM registry.application_secrets WHERE id = ANY ($1::uuid[])"


async def _secret_revoked(connection: Connection, run: Sequence[Envelope]) -> None:
    events: list[Any] = [one.event for one in run]
    await connection.execute(_REVOKE_SECRETS, [one.secret_id for one in events])
    facts = _facts(run)
    await connection.execute(_TOUCH, *facts, facts[0])


async def _tokens_revoked(connection: Connection, run: Sequence[Envelope]) -> None:
    events: list[Any] = [one.event for one in run]
    await connection.execute(_SET_NOT_BEFORE, *_facts(run), [one.not_before for one in events])


_Statement = Callable[[Connection, Sequence[Envelope]], Awaitable[None]]
_STATEMENTS: dict[type[Event], _Statement] = {
    ApplicationCreated: _created,
    ApplicationUpdated: _updated,
    ApplicationActivated: _activated,
    ApplicationDeactivated: _deactivated,
    ApplicationDeleted: _deleted,
    ApplicationSecretRotated: _secret_rotated,
    ApplicationSecretRevoked: _secret_revoked,
    TokensRevoked: _tokens_revoked,
}
