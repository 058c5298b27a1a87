"""Applications as REST, pages and command line show them, read from the read model."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import asyncpg
import msgspec

from shared.events import DeactivationReason, PublicKey
from shared.postgres import Pool

# In UTC; the schema says so.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """Something with an id and a name for people."""

    id: str
    name: str


class SecretView(msgspec.Struct, frozen=True, kw_only=True):
    """A secret, as far as it may be shown. `hint` is its last four characters."""

    id: str
    hint: str
    created_at: Moment
    expires_at: Moment | None
    last_used_at: Moment | None = None


class Jwks(msgspec.Struct, frozen=True, kw_only=True):
    """A JWK set (RFC 7517)."""

    keys: list[dict[str, str]]


class ApplicationView(msgspec.Struct, frozen=True, kw_only=True):
    """An application, as the contract describes it."""

    id: str
    client_id: str
    name: str
    organization: Named
    owner: Named
    description: str = ""
    active: bool
    scopes: list[str]
    expires_at: Moment | None = None
    jwks: Jwks | None = None
    token_lifetime: int | None = None
    created_at: Moment
    updated_at: Moment
    last_used_at: Moment | None = None
    secrets: list[SecretView]
    version: int


class ApplicationWithSecret(ApplicationView, frozen=True, kw_only=True):
    """The answer to creation and to rotation: the only one with a secret."""

    client_secret: str


class ApplicationPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of applications; without `next_cursor` it is the last."""

    items: list[ApplicationView]
    next_cursor: str | None


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """What decides whether an access token of a client is good."""

    owner_id: str
    organization_id: str
    active: bool
    not_before: datetime | None
    expires_at: datetime | None
    revoked: frozenset[str] = frozenset()


class ApplicationViews:
    """The read model in Postgres."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, application_id: str) -> ApplicationView | None:
        """Return an application, or None when there is none (or no longer one)."""
        row = await self._pool.fetchrow(_BY_ID, application_id)
        return None if row is None else view_of(row)

    async def find_by_client_id(self, client_id: str) -> ApplicationView | None:
        """Return the application of a client, or None."""
        row = await self._pool.fetchrow(_BY_CLIENT_ID, client_id)
        return None if row is None else view_of(row)

    async def caller(self, client_id: str) -> Caller | None:
        """Return what is to be known of a client that calls, or None when there is none."""
        row = await self._pool.fetchrow(_CALLER, client_id)
        if row is None:
            return None
        return Caller(
            owner_id=str(row["owner_id"]),
            organization_id=str(row["organization_id"]),
            active=row["active"],
            not_before=row["not_before"],
            expires_at=row["expires_at"],
            revoked=frozenset(row["revoked"]),
        )

    async def active_of_disabled(self) -> list[tuple[str, DeactivationReason]]:
        """Return the active applications of disabled owners and organizations, and which it is."""
        return [(str(row["id"]), row["reason"]) for row in await self._pool.fetch(_OF_DISABLED)]


def jwks_view(keys: Iterable[PublicKey]) -> Jwks | None:
    """Return some keys as they are shown."""
    found = [one.jwk for one in keys]
    return Jwks(keys=found) if found else None


def view_of(row: asyncpg.Record) -> ApplicationView:
    """Return what SELECT_FROM has found."""
    return ApplicationView(
        id=str(row["id"]),
        client_id=row["client_id"],
        name=row["name"],
        organization=Named(id=str(row["organization_id"]), name=row["organization_name"]),
        owner=Named(id=str(row["owner_id"]), name=row["owner_name"]),
        description=row["description"],
        active=row["active"],
        scopes=list(row["scopes"]),
        expires_at=row["expires_at"],
        jwks=None if row["keys"] == "[]" else Jwks(keys=msgspec.json.decode(row["keys"])),
        token_lifetime=row["token_seconds"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        last_used_at=row["last_used_at"],
        secrets=[
            SecretView(
                id=str(id_),
                hint=hint,
                created_at=created_at,
                expires_at=expires_at,
                last_used_at=last_used_at,
            )
            for id_, hint, created_at, expires_at, last_used_at in row["secrets"]
        ],
        version=row["version"],
    )


SELECT_FROM = """
SELECT a.id, a.client_id, a.name, a.organization_id, a.owner_id, a.active, a.scopes,
       a.created_at, a.updated_at, a.version, a.description, a.expires_at, a.last_used_at,
       a.keys, a.token_seconds, a.name_key, a.organization_key,
       (SELECT o.name FROM registry.organizations o
         WHERE o.id = a.organization_id) AS organization_name,
       (SELECT u.name FROM registry.users u
         WHERE u.id = a.owner_id) AS owner_name,
       ARRAY (SELECT (s.id, s.hint, s.created_at, s.expires_at,
                      (SELECT max(u.last_used_at) FROM registry.usage u
                        WHERE u.application_id = a.id AND u.secret_id = s.id))
                FROM registry.application_secrets s
               WHERE s.application_id = a.id
               ORDER BY s.position) AS secrets
  FROM registry.applications a
"""
_BY_ID = SELECT_FROM + " WHERE a.id = $1"
_BY_CLIENT_ID = SELECT_FROM + " WHERE a.client_id = $1"
_CALLER = """
SELECT owner_id, organization_id, active, not_before, expires_at,
       ARRAY (SELECT entry ->> 'jti' FROM jsonb_array_elements(revoked) AS entry) AS revoked
  FROM registry.applications
 WHERE client_id = $1
"""
# Of both reasons, the owner's.
_OF_DISABLED = """
SELECT DISTINCT ON (id) id, reason
  FROM (SELECT a.id, 'owner_disabled' AS reason, 1 AS rank
          FROM registry.applications a JOIN registry.users u ON u.id = a.owner_id
         WHERE a.active AND NOT u.active
         UNION ALL
        SELECT a.id, 'organization_disabled', 2
          FROM registry.applications a JOIN registry.organizations o ON o.id = a.organization_id
         WHERE a.active AND NOT o.active) AS found
 ORDER BY id, rank
"""
