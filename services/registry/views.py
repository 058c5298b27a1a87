"""Reads of the read model: applications as REST, pages and command line show them."""

import base64
import binascii
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import asyncpg
import msgspec

from services.registry.domain import RegistryError
from shared.events import DeactivationReason
from shared.postgres import Pool

PAGE_LIMIT = 200


class InvalidCursor(RegistryError):
    """The cursor is not one that this list gave out."""


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


class ApplicationView(msgspec.Struct, frozen=True, kw_only=True):
    """An application, as the contract describes it."""

    id: str
    client_id: str
    name: str
    organization: Named
    owner: Named
    active: bool
    scopes: list[str]
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
    active: bool
    not_before: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which applications: `owner_id` or any of `organization_ids` (None: all), and what was asked.

    `visible_owner` and `visible_organizations` are what the asker may see; None is everything.
    """

    visible_owner: str | None = None
    visible_organizations: frozenset[str] | None = None
    name: str | None = None
    active: bool | None = None
    owner_id: str | None = None
    organization_id: str | None = None


class ApplicationViews:
    """The read model in Postgres."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, application_id: str) -> ApplicationView | None:
        """Return an application, or None when there is none (or no longer one)."""
        row = await self._pool.fetchrow(_BY_ID, application_id)
        return None if row is None else _view(row)

    async def find_by_client_id(self, client_id: str) -> ApplicationView | None:
        """Return the application of a client, or None."""
        row = await self._pool.fetchrow(_BY_CLIENT_ID, client_id)
        return None if row is None else _view(row)

    async def caller(self, client_id: str) -> Caller | None:
        """Return what is to be known of a client that calls, or None when there is none."""
        row = await self._pool.fetchrow(_CALLER, client_id)
        if row is None:
            return None
        return Caller(
            owner_id=str(row["owner_id"]), active=row["active"], not_before=row["not_before"]
        )

    async def page(
        self, wanted: Filter, *, limit: int, cursor: str | None = None
    ) -> tuple[list[ApplicationView], str | None]:
        """Return a page by name and the cursor of the next one, if any. Raises InvalidCursor."""
        after_name, after_id = _position(cursor)
        rows = await self._pool.fetch(
            _PAGE,
            wanted.visible_owner,
            None if wanted.visible_organizations is None else list(wanted.visible_organizations),
            None if wanted.name is None else _pattern(wanted.name),
            wanted.active,
            wanted.owner_id,
            wanted.organization_id,
            after_name,
            after_id,
            limit + 1,
        )
        items = [_view(row) for row in rows[:limit]]
        more = len(rows) > limit
        return items, _cursor(items[-1]) if more else None

    async def active_of_disabled(self) -> list[tuple[str, DeactivationReason]]:
        """Return the active applications of disabled owners and organizations, and which it is."""
        return [(str(row["id"]), row["reason"]) for row in await self._pool.fetch(_OF_DISABLED)]


def _view(row: asyncpg.Record) -> ApplicationView:
    return ApplicationView(
        id=str(row["id"]),
        client_id=row["client_id"],
        name=row["name"],
        organization=Named(id=str(row["organization_id"]), name=row["organization_name"]),
        owner=Named(id=str(row["owner_id"]), name=row["owner_name"]),
        active=row["active"],
        scopes=list(row["scopes"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        secrets=[
            SecretView(id=str(id_), hint=hint, created_at=created_at, expires_at=expires_at)
            for id_, hint, created_at, expires_at in row["secrets"]
        ],
        version=row["version"],
    )


def _pattern(text: str) -> str:
    """Return a LIKE pattern for a substring, taken literally."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _cursor(last: ApplicationView) -> str:
    raw = msgspec.json.encode([last.name, last.id])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _position(cursor: str | None) -> tuple[str | None, str | None]:
    if cursor is None:
        return None, None
    try:
        raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        name, id_ = msgspec.json.decode(raw, type=tuple[str, uuid.UUID])
    except (ValueError, UnicodeEncodeError, binascii.Error, msgspec.MsgspecError):
        raise InvalidCursor("Give a next_cursor of this list, or none.") from None
    if "\0" in name:
        raise InvalidCursor("Give a next_cursor of this list, or none.")
    return name, str(id_)


_SELECT = """
SELECT a.id, a.client_id, a.name, a.organization_id, a.owner_id, a.active, a.scopes,
       a.created_at, a.updated_at, a.version,
       o.name AS organization_name,
       u.name AS owner_name,
       ARRAY (SELECT (s.id, s.hint, s.created_at, s.expires_at)
                FROM registry.application_secrets s
               WHERE s.application_id = a.id
               ORDER BY s.position) AS secrets
  FROM registry.applications  a
  JOIN registry.organizations o ON o.id = a.organization_id
  JOIN registry.users         u ON u.id = a.owner_id
"""
_BY_ID = _SELECT + " WHERE a.id = $1"
_BY_CLIENT_ID = _SELECT + " WHERE a.client_id = $1"
_CALLER = "SELECT owner_id, active, not_before FROM registry.applications WHERE client_id = $1"
_PAGE = (
    _SELECT
    + """
 WHERE (   ($1::uuid IS NULL AND $2::uuid[] IS NULL)
        OR a.owner_id = $1
        OR a.organization_id = ANY ($2))
   AND ($3::text    IS NULL OR a.name ILIKE $3)
   AND ($4::boolean IS NULL OR a.active = $4)
   AND ($5::uuid    IS NULL OR a.owner_id = $5)
   AND ($6::uuid    IS NULL OR a.organization_id = $6)
   AND ($7::text    IS NULL OR (a.name, a.id) > ($7, $8::uuid))
 ORDER BY a.name, a.id
 LIMIT $9
"""
)
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
