"""Organizations, users and memberships: who may own applications, and where.

This is the reading side. What is changed is decided in `directory_decisions` and written by
`directory_changes`.
"""

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from services.registry.domain import RegistryError
from services.registry.permissions import (
    Actor,
    Person,
    may_see_organization,
    may_see_user,
)
from shared.feed_client import Recipient
from shared.postgres import Connection, Pool

_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


class DirectoryError(RegistryError):
    """The directory refuses; the message says why."""


class OrganizationUnknown(DirectoryError):
    """There is no such organization."""


class UserUnknown(DirectoryError):
    """There is no such user."""


class FieldUnusable(DirectoryError):
    """One field cannot be what was asked; `path` leads to it."""

    def __init__(self, detail: str, *path: str | int) -> None:
        super().__init__(detail)
        self.path = path


class FieldTaken(FieldUnusable):
    """Another organization or user has this name or address already."""


class OwnsApplications(DirectoryError):
    """The user owns applications in this organization; delete them first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """A part of the house that has applications of its own."""

    id: str
    name: str
    global_access: bool
    active: bool
    created_at: datetime
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who may own applications. `version` counts changes of the memberships too."""

    id: str
    email: str
    name: str
    locale: str
    time_zone: str = "UTC"
    active: bool
    administrator: bool
    created_at: datetime
    version: int
    organizations: tuple[Organization, ...] = ()

    def belongs_to(self, organization_id: str) -> bool:
        """Tell whether the user is a member, active or not."""
        return any(one.id == organization_id for one in self.organizations)

    @property
    def actor(self) -> Actor:
        """What the user may do."""
        return self._actor_in(self.organizations)

    def actor_in(self, organization_id: str) -> Actor:
        """What the user may do by an application of one organization: rule there, and no more.

        Whoever else administers that organization may know the application's secret. They must
        not come by rights that are above it by presenting themselves as the application's owner.
        """
        return self._actor_in(one for one in self.organizations if one.id == organization_id)

    def _actor_in(self, organizations: Iterable[Organization]) -> Actor:
        active = [one for one in organizations if one.active]
        return Actor(
            user_id=self.id,
            administrator=self.administrator,
            organizations=frozenset(one.id for one in active),
            has_global_access=any(one.global_access for one in active),
        )

    @property
    def person(self) -> Person:
        """What decides who may do something to the user."""
        return Person(
            user_id=self.id,
            administrator=self.administrator,
            organizations=frozenset(one.id for one in self.organizations),
        )


class Directory:
    """The directory in Postgres. What is looked up is given by id, name or address."""

    def __init__(self, source: Pool | Connection) -> None:
        self._source = source

    async def organizations(self) -> list[Organization]:
        """Return all organizations by name."""
        return [organization_of(row) for row in await self._source.fetch(_ORGANIZATIONS)]

    async def organization(self, reference: str) -> Organization:
        """Return an organization by id or name. Raises OrganizationUnknown."""
        row = None
        if is_storable(reference):
            row = await self._source.fetchrow(_ORGANIZATION, uuid_of(reference), reference)
        if row is None:
            raise OrganizationUnknown("There is no such organization.")
        return organization_of(row)

    async def users(self) -> list[User]:
        """Return all users by address."""
        return [user_of(row) for row in await self._source.fetch(_USERS)]

    async def user(self, reference: str) -> User:
        """Return a user by id or e-mail address. Raises UserUnknown."""
        row = None
        if is_storable(reference):
            row = await self._source.fetchrow(_USER, uuid_of(reference), reference.strip())
        if row is None:
            raise UserUnknown("There is no such user.")
        return user_of(row)

    async def users_by(self, references: Iterable[str]) -> dict[str, User]:
        """Return the users that are known by these ids or addresses; others are left out."""
        rows = await self._source.fetch(_USERS_BY, *_asked(references))
        return {row["reference"]: user_of(row) for row in rows}

    async def organizations_by(self, references: Iterable[str]) -> dict[str, Organization]:
        """Return the organizations that are known by these ids or names; others are left out."""
        rows = await self._source.fetch(_ORGANIZATIONS_BY, *_asked(references))
        return {row["reference"]: organization_of(row) for row in rows}

    async def visible_organization(
        self, organization_id: str, rights: Actor | None
    ) -> Organization:
        """Return an organization by its id, if it may be seen; without rights to look at, all may.

        Raises OrganizationUnknown.
        """
        found = await self.organization(organization_id)
        # By id only: another organization may be named like one.
        if found.id != organization_id or (
            rights is not None and not may_see_organization(rights, found.id)
        ):
            raise OrganizationUnknown("There is no such organization.")
        return found

    async def visible_user(self, user_id: str, rights: Actor | None) -> User:
        """Return a user, if they may be seen; see above. Raises UserUnknown."""
        found = await self.user(user_id)
        if rights is not None and not may_see_user(rights, found.person):
            raise UserUnknown("There is no such user.")
        return found

    async def recipient(self, user_id: str) -> Recipient | None:
        """Return whom to write to, or None when there is no such user."""
        found = await self.recipients([user_id])
        return found[0] if found else None

    async def recipients(self, user_ids: Iterable[str]) -> list[Recipient]:
        """Return those of these users that there are."""
        known = [one for one in map(uuid_of, user_ids) if one is not None]
        return [Recipient(**dict(row)) for row in await self._source.fetch(_RECIPIENTS, known)]

    async def administrators(self, organization_id: str) -> list[str]:
        """Return the ids of the active users who administer an organization.

        Those who do by global access are among them, as in permissions.administers.
        """
        rows = await self._source.fetch(_ADMINISTRATORS, uuid_of(organization_id))
        return [row["id"] for row in rows]


def is_storable(text: str) -> bool:
    """Tell whether Postgres can hold the text at all; what it cannot hold names nothing."""
    return not _UNSTORABLE.search(text)


def uuid_of(reference: str) -> uuid.UUID | None:
    """Return the id that a reference is, or None when it is a name or an address."""
    try:
        return uuid.UUID(reference)
    except ValueError:
        return None


def _asked(references: Iterable[str]) -> tuple[list[str], list[uuid.UUID | None]]:
    """Return the parameters of _ASKED."""
    storable = [one for one in references if is_storable(one)]
    return storable, [uuid_of(one) for one in storable]


def organization_of(row: asyncpg.Record) -> Organization:
    """Return the organization of a row of SELECT_ORGANIZATIONS."""
    return Organization(
        id=str(row["id"]),
        name=row["name"],
        global_access=row["global_access"],
        active=row["active"],
        created_at=row["created_at"],
        version=row["version"],
    )


def user_of(row: asyncpg.Record) -> User:
    """Return the user of a row of SELECT_USERS."""
    return User(
        id=str(row["id"]),
        email=row["email"],
        name=row["name"],
        locale=row["locale"],
        time_zone=row["time_zone"],
        active=row["active"],
        administrator=row["administrator"],
        created_at=row["created_at"],
        version=row["version"],
        organizations=tuple(
            Organization(
                id=str(id_),
                name=name,
                global_access=global_access,
                active=active,
                created_at=created_at,
                version=version,
            )
            for id_, name, global_access, active, created_at, version in row["organizations"]
        ),
    )


SELECT_ORGANIZATIONS = """
SELECT o.id, o.name, o.global_access, o.active, o.created_at, o.version
  FROM registry.organizations o
"""
_ORGANIZATIONS = SELECT_ORGANIZATIONS + " ORDER BY o.name"
_ORGANIZATION = (
    SELECT_ORGANIZATIONS
    + " WHERE o.id = $1 OR o.name = $2 ORDER BY (o.id = $1) DESC NULLS LAST LIMIT 1"
)
SELECT_USERS = """
SELECT u.id, u.email, u.name, u.locale, u.time_zone, u.active, u.administrator, u.created_at,
       u.version,
       ARRAY (SELECT (o.id, o.name, o.global_access, o.active, o.created_at, o.version)
                FROM registry.memberships   m
                JOIN registry.organizations o ON o.id = m.organization_id
               WHERE m.user_id = u.id
               ORDER BY o.name) AS organizations
  FROM registry.users u
"""
_USERS = SELECT_USERS + " ORDER BY lower(u.email)"
_USER = SELECT_USERS + " WHERE u.id = $1 OR lower(u.email) = lower($2)"
_RECIPIENTS = """
SELECT id::text AS id, email, name, locale, time_zone, active
  FROM registry.users
 WHERE id = ANY ($1::uuid[])
"""
# What `permissions.administers` says of each, asked of all at once.
_ADMINISTRATORS = """
SELECT u.id::text AS id
  FROM registry.users u
 WHERE u.active AND u.administrator
   AND EXISTS (SELECT FROM registry.memberships   m
                      JOIN registry.organizations o ON o.id = m.organization_id
                     WHERE m.user_id = u.id AND o.active AND (o.id = $1 OR o.global_access))
 ORDER BY u.id
"""
# Each with a look-up of its own, as for one alone: that uses the indexes.
_ASKED = "SELECT r.reference, found.* FROM unnest($1::text[], $2::uuid[]) AS r (reference, id)"
_USERS_BY = f"""{_ASKED} CROSS JOIN LATERAL (
{SELECT_USERS} WHERE u.id = r.id OR lower(u.email) = lower(btrim(r.reference))) AS found"""
_ORGANIZATIONS_BY = f"""{_ASKED} CROSS JOIN LATERAL (
{SELECT_ORGANIZATIONS} WHERE o.id = r.id OR o.name = r.reference
 ORDER BY (o.id = r.id) DESC NULLS LAST LIMIT 1) AS found"""
