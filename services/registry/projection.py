"""The read model `registry.applications`: what an append may not contradict, and how it changes.

Both run inside the transaction that appends, under the log's lock, so what they see is all there
is. The table below is event → statement over all events of that type in a batch.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from services.registry.domain import RegistryError
from services.registry.name_search import key_of, parts_of
from shared.envelope import Envelope, encode_json
from shared.events import (
    ApplicationActivated,
    ApplicationCreated,
    ApplicationDeactivated,
    ApplicationDeleted,
    ApplicationSecretRevoked,
    ApplicationSecretRotated,
    ApplicationUpdated,
    Event,
    PublicKey,
    TokensRevoked,
)
from shared.postgres import Connection


class NameTaken(RegistryError):
    """The application with the given name already exists."""


class OwnerUnavailable(RegistryError):
    """The owner or the organization is disabled, or the owner does not belong to it."""


# Which of the claims $3 to $6 would contradict what is: a name twice, an application nobody may
# have. A part of the statement by which an append looks at the log, so that both are one.
CLAIMS = """
SELECT (EXISTS (SELECT FROM registry.applications a
                 WHERE a.owner_id        = c.owner_id
                   AND a.organization_id = c.organization_id
                   AND a.name            = c.name
                   AND a.id             <> c.stream),
        EXISTS (SELECT FROM registry.memberships m
                  JOIN registry.users         u ON u.id = m.user_id         AND u.active
                  JOIN registry.organizations o ON o.id = m.organization_id AND o.active
                 WHERE m.user_id         = c.owner_id
                   AND m.organization_id = c.organization_id))
  FROM unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::text[])
       WITH ORDINALITY AS c (stream, owner_id, organization_id, name, n)
 ORDER BY n
"""

NAMING_EVENTS = (ApplicationCreated, ApplicationUpdated)
_NEEDS_OWNER = (ApplicationCreated, ApplicationActivated)
_CLAIMING = NAMING_EVENTS + _NEEDS_OWNER


def claims_of(events: Iterable[Event]) -> list[list[str]]:
    """Return the parameters of CLAIMS: what the events that claim something claim."""
    claiming = [event for event in events if isinstance(event, _CLAIMING)]
    return [
        [one.application_id for one in claiming],
        [one.owner_id for one in claiming],
        [one.organization_id for one in claiming],
        [one.name for one in claiming],
    ]


def objections(
    events: Iterable[Event], claims: Iterable[tuple[bool, bool]]
) -> Iterator[RegistryError | None]:
    """Yield for each event why it cannot be appended, or None; `claims` are the rows of CLAIMS."""
    rows = iter(claims)
    for event in events:
        taken, available = next(rows) if isinstance(event, _CLAIMING) else (False, True)
        if isinstance(event, _NEEDS_OWNER) and not available:
            yield OwnerUnavailable()
        elif isinstance(event, NAMING_EVENTS) and taken:
            yield NameTaken()
        else:
            yield None


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
                         $15::bigint[], $16::text[], $17::text[], $18::text[], $19::timestamptz[],
                         $20::jsonb[], $21::integer[])
        AS one (id, version, time, client_id, organization_id,
                owner_id, name, active, scopes, secret_id,
                hint, digest, secret_created_at, secret_expires_at,
                position, name_key, name_parts, description, expires_at,
                keys, token_seconds)
), application AS (
    INSERT INTO registry.applications (id, client_id, organization_id, owner_id, name, active,
                                       scopes, created_at, updated_at, version, description,
                                       expires_at, name_key, name_parts, organization_key,
                                       keys, token_seconds)
    SELECT g.id, client_id, organization_id, owner_id, g.name, g.active,
           string_to_array(scopes, ' '), time, time, g.version, description, expires_at,
           name_key, array_to_tsvector(string_to_array(name_parts, E'\\x1f')),
           coalesce(lower(o.name), ''), keys, token_seconds
      FROM given g LEFT JOIN registry.organizations o ON o.id = g.organization_id
)
INSERT INTO registry.application_secrets (id, application_id, hint, digest, created_at, expires_at,
                                          position)
SELECT secret_id, id, hint, digest, secret_created_at, secret_expires_at, position FROM given
"""


async def _created(connection: Connection, run: Sequence[Envelope]) -> None:
    events: list[Any] = [one.event for one in run]
    keys = [key_of(one.name) for one in events]
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
        keys,
        [parts_of(key) for key in keys],
        [one.description for one in events],
        [one.expires_at for one in events],
        [_jwks(one.keys) for one in events],
        [one.token_seconds for one in events],
    )


def _jwks(keys: Iterable[PublicKey]) -> str:
    return encode_json([one.jwk for one in keys]).decode()


_UPDATE = """
UPDATE registry.applications a
   SET {assignment}, version = c.version, updated_at = c.time
  FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::{type}[])
       AS c (id, version, time, value)
 WHERE a.id = c.id
"""
# What was not said to have changed stays: an event of an older version does not know it.
_CHANGE = """
UPDATE registry.applications a
   SET version     = c.version,
       updated_at  = c.time,
       name        = c.name,
       name_key    = c.name_key,
       name_parts  = array_to_tsvector(string_to_array(c.name_parts, E'\\x1f')),
       description = CASE WHEN c.changed LIKE '%|description|%' THEN c.description
                          ELSE a.description END,
       scopes      = CASE WHEN c.changed LIKE '%|scopes|%' THEN string_to_array(c.scopes, ' ')
                          ELSE a.scopes END,
       expires_at  = CASE WHEN c.changed LIKE '%|expires_at|%' THEN c.expires_at
                          ELSE a.expires_at END,
       keys        = CASE WHEN c.changed LIKE '%|keys|%' THEN c.keys ELSE a.keys END,
       token_seconds = CASE WHEN c.changed LIKE '%|token_seconds|%' THEN c.token_seconds
                            ELSE a.token_seconds END
  FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::text[], $5::text[], $6::text[],
              $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::jsonb[],
              $12::integer[])
       AS c (id, version, time, changed, name, name_key,
             name_parts, description, scopes, expires_at, keys,
             token_seconds)
 WHERE a.id = c.id
"""
_SET_ACTIVE = _UPDATE.format(assignment="active = c.value", type="boolean")
_SET_NOT_BEFORE = _UPDATE.format(assignment="not_before = c.value", type="timestamptz")
_TOUCH = _UPDATE.format(assignment="id = c.value", type="uuid")


async def _updated(connection: Connection, run: Sequence[Envelope]) -> None:
    events: list[Any] = [one.event for one in run]
    keys = [key_of(one.name) for one in events]
    await connection.execute(
        _CHANGE,
        *_facts(run),
        [f"|{'|'.join(one.changed)}|" for one in events],
        [one.name for one in events],
        keys,
        [parts_of(key) for key in keys],
        [one.description for one in events],
        [" ".join(one.scopes) for one in events],
        [one.expires_at for one in events],
        [_jwks(one.keys) for one in events],
        [one.token_seconds for one in events],
    )


async def _activated(connection: Connection, run: Sequence[Envelope]) -> None:
    await connection.execute(_SET_ACTIVE, *_facts(run), [True] * len(run))


async def _deactivated(connection: Connection, run: Sequence[Envelope]) -> None:
    await connection.execute(_SET_ACTIVE, *_facts(run), [False] * len(run))


# The addresses that it was used from are not of the log, and nobody's business any more.
_DELETE = """
WITH secret  AS (DELETE FROM registry.application_secrets WHERE application_id = ANY ($1::uuid[])),
     address AS (DELETE FROM registry.addresses           WHERE application_id = ANY ($1::uuid[]))
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


_REVOKE_SECRETS = """
DELETE FROM registry.application_secrets s
 USING unnest($1::uuid[], $2::uuid[]) AS c (application_id, id)
 WHERE s.application_id = c.application_id AND s.id = c.id
"""


async def _secret_revoked(connection: Connection, run: Sequence[Envelope]) -> None:
    events: list[Any] = [one.event for one in run]
    facts = _facts(run)
    await connection.execute(_REVOKE_SECRETS, facts[0], [one.secret_id for one in events])
    await connection.execute(_TOUCH, *facts, facts[0])


# By the event's time, not by the clock, as with secrets.
_ADD_REVOKED = """
UPDATE registry.applications a
   SET version    = c.version,
       updated_at = c.time,
       revoked    = (SELECT coalesce(jsonb_agg(one.entry ORDER BY one.n), '[]')
                       FROM jsonb_array_elements(a.revoked) WITH ORDINALITY AS one (entry, n)
                      WHERE (one.entry ->> 'expires_at')::timestamptz > c.revoked_at) || c.entry
  FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::timestamptz[], $5::jsonb[])
       AS c (id, version, time, revoked_at, entry)
 WHERE a.id = c.id
"""


def revoked_entry(jti: str, until: datetime) -> dict[str, str]:
    """Return what the read model keeps of a token that was revoked."""
    return {"jti": jti, "expires_at": until.isoformat()}


async def _tokens_revoked(connection: Connection, run: Sequence[Envelope]) -> None:
    singles = [one for one in run if getattr(one.event, "jti", None) is not None]
    others = [one for one in run if getattr(one.event, "jti", None) is None]
    events: list[Any] = [one.event for one in others]
    await connection.execute(_SET_NOT_BEFORE, *_facts(others), [one.not_before for one in events])
    if not singles:
        return
    events = [one.event for one in singles]
    await connection.execute(
        _ADD_REVOKED,
        *_facts(singles),
        [one.revoked_at for one in events],
        [encode_json(revoked_entry(one.jti, one.token_expires_at)).decode() for one in events],
    )


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
