"""The directory as REST shows it, and its lists: only what the one who asks may see."""

import uuid
from dataclasses import dataclass
from typing import Any

import msgspec

from services.registry.directory import (
    SELECT_ORGANIZATIONS,
    SELECT_USERS,
    Organization,
    User,
    organization_of,
    user_of,
)
from services.registry.permissions import Actor, may_see_organization, rules_all
from services.registry.views import Moment, Named
from shared.cursors import cursor_of, place_of
from shared.postgres import Pool


class OrganizationView(msgspec.Struct, frozen=True, kw_only=True):
    """An organization."""

    id: str
    name: str
    global_access: bool
    active: bool
    created_at: Moment
    version: int


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """A user, with the organizations that the one who asks may see."""

    id: str
    name: str
    email: str
    locale: str
    time_zone: str
    active: bool
    administrator: bool
    organizations: list[Named]
    created_at: Moment
    version: int


class OrganizationPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of organizations by name; without `next_cursor` it is the last."""

    items: list[OrganizationView]
    next_cursor: str | None


class UserPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of users by name; without `next_cursor` it is the last."""

    items: list[UserView]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationFilter:
    """Which organizations; `name` is a part of it. None is any."""

    name: str | None = None
    active: bool | None = None
    global_access: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFilter:
    """Which users; `name` and `email` are parts of them. None is any."""

    name: str | None = None
    email: str | None = None
    active: bool | None = None
    administrator: bool | None = None
    organization_id: str | None = None


class DirectoryViews:
    """Lists of the directory, from Postgres."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def organizations(
        self, wanted: OrganizationFilter, actor: Actor, *, limit: int, cursor: str | None
    ) -> OrganizationPage:
        """Return a page. Raises InvalidCursor."""
        rows = await self._pool.fetch(
            _ORGANIZATIONS,
            _reach(actor),
            _pattern(wanted.name),
            wanted.active,
            wanted.global_access,
            _place(cursor, wanted),
            limit + 1,
        )
        items = [organization_view(organization_of(row)) for row in rows[:limit]]
        more = len(rows) > limit
        return OrganizationPage(
            items=items, next_cursor=_cursor(items[-1].id, wanted) if more else None
        )

    async def users(
        self, wanted: UserFilter, actor: Actor, *, limit: int, cursor: str | None
    ) -> UserPage:
        """Return a page. Raises InvalidCursor."""
        rows = await self._pool.fetch(
            _USERS,
            _reach(actor),
            _pattern(wanted.name),
            _pattern(wanted.email),
            wanted.active,
            wanted.administrator,
            wanted.organization_id,
            _place(cursor, wanted),
            limit + 1,
        )
        items = [user_view(user_of(row), actor) for row in rows[:limit]]
        more = len(rows) > limit
        return UserPage(items=items, next_cursor=_cursor(items[-1].id, wanted) if more else None)


def organization_view(organization: Organization) -> OrganizationView:
    """Return an organization as REST shows it."""
    return OrganizationView(
        id=organization.id,
        name=organization.name,
        global_access=organization.global_access,
        active=organization.active,
        created_at=organization.created_at,
        version=organization.version,
    )


def user_view(user: User, actor: Actor) -> UserView:
    """Return a user as REST shows them to somebody."""
    return UserView(
        id=user.id,
        name=user.name,
        email=user.email,
        locale=user.locale,
        time_zone=user.time_zone,
        active=user.active,
        administrator=user.administrator,
        organizations=[
            Named(id=one.id, name=one.name)
            for one in user.organizations
            if may_see_organization(actor, one.id)
        ],
        created_at=user.created_at,
        version=user.version,
    )


def _reach(actor: Actor) -> list[str] | None:
    """Return the organizations that limit what somebody sees; None for no limit."""
    if rules_all(actor):
        return None
    return sorted(actor.organizations) if actor.administrator else []


def _pattern(text: str | None) -> str | None:
    """Return a LIKE pattern for a substring, taken literally."""
    if text is None:
        return None
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _cursor(last_id: str, wanted: Any) -> str:
    """Return a cursor with an id and no name: it stands in URLs, and those in logs of proxies."""
    return cursor_of(_query(wanted), last_id)


def _place(cursor: str | None, wanted: Any) -> uuid.UUID | None:
    """Return behind whom to begin. Raises InvalidCursor."""
    return None if cursor is None else place_of(cursor, _query(wanted), uuid.UUID)


def _query(wanted: Any) -> Any:
    return type(wanted).__name__, wanted


_ORGANIZATIONS = f"""{SELECT_ORGANIZATIONS}
 WHERE ($1::uuid[]  IS NULL OR o.id = ANY ($1))
   AND ($2::text    IS NULL OR o.name ILIKE $2)
   AND ($3::boolean IS NULL OR o.active = $3)
   AND ($4::boolean IS NULL OR o.global_access = $4)
   AND ($5::uuid    IS NULL OR o.name > (SELECT l.name FROM registry.organizations l
                                          WHERE l.id = $5))
 ORDER BY o.name
 LIMIT $6
"""  # noqa: S608 - a constant of ours
# Nobody is removed, so whoever a cursor names is there; renamed meanwhile, they stand elsewhere.
_USERS = f"""{SELECT_USERS}
 WHERE ($1::uuid[]  IS NULL OR EXISTS (SELECT FROM registry.memberships m
                                        WHERE m.user_id = u.id
                                          AND m.organization_id = ANY ($1)))
   AND ($2::text    IS NULL OR u.name ILIKE $2)
   AND ($3::text    IS NULL OR u.email ILIKE $3)
   AND ($4::boolean IS NULL OR u.active = $4)
   AND ($5::boolean IS NULL OR u.administrator = $5)
   AND ($6::uuid    IS NULL OR EXISTS (SELECT FROM registry.memberships m
                                        WHERE m.user_id = u.id AND m.organization_id = $6))
   AND ($7::uuid    IS NULL OR (u.name, u.id) > (SELECT l.name, l.id FROM registry.users l
                                                  WHERE l.id = $7))
 ORDER BY u.name, u.id
 LIMIT $8
"""  # noqa: S608 - a constant of ours
