"""Organizations, users and memberships: who may own applications, and where."""

import re
import uuid
from dataclasses import dataclass

import asyncpg
from argon2 import PasswordHasher

from services.registry.domain import RegistryError
from services.registry.permissions import Actor
from shared.feed_client import Recipient
from shared.postgres import Pool

# RFC 5321, section 4.5.3.1.3, less the angle brackets.
ADDRESS_LIMIT = 254
PASSWORD_MINIMUM = 12
_PART = r"[^@\s<>,;:\"()\[\]\\\x00-\x1f\x7f\ud800-\udfff]+"
_ADDRESS = re.compile(f"{_PART}@{_PART}")
# Half a character (U+D800 to U+DFFF) comes from an argument that is not UTF-8.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_LOCALE = re.compile(r"[a-z]{2,3}([_-][A-Z]{2})?")
_hasher = PasswordHasher()  # argon2id with the parameters of RFC 9106's second choice


class DirectoryError(RegistryError):
    """The directory refuses; the message says why."""


class OrganizationUnknown(DirectoryError):
    """There is no such organization."""


class UserUnknown(DirectoryError):
    """There is no such user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """A part of the house that has applications of its own."""

    id: str
    name: str
    global_access: bool
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who may own applications."""

    id: str
    email: str
    name: str
    locale: str
    active: bool
    administrator: bool
    organizations: tuple[Organization, ...] = ()

    def belongs_to(self, organization_id: str) -> bool:
        """Tell whether the user is a member, active or not."""
        return any(one.id == organization_id for one in self.organizations)

    @property
    def actor(self) -> Actor:
        """What the user may do."""
        active = [one for one in self.organizations if one.active]
        return Actor(
            user_id=self.id,
            administrator=self.administrator,
            organizations=frozenset(one.id for one in active),
            has_global_access=any(one.global_access for one in active),
        )


class Directory:
    """The directory in Postgres. What is looked up is given by id, name or address."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add_organization(self, name: str, *, global_access: bool = False) -> Organization:
        """Add an organization. Raises DirectoryError when the name is taken or unusable."""
        name = _clean(name, "organization name")
        try:
            row = await self._pool.fetchrow(_ADD_ORGANIZATION, name, global_access)
        except asyncpg.UniqueViolationError:
            raise DirectoryError(f"An organization named {name!r} exists already.") from None
        return _organization(row)

    async def organizations(self) -> list[Organization]:
        """Return all organizations by name."""
        return [_organization(row) for row in await self._pool.fetch(_ORGANIZATIONS)]

    async def organization(self, reference: str) -> Organization:
        """Return an organization by id or name. Raises OrganizationUnknown."""
        row = None
        if _is_storable(reference):
            row = await self._pool.fetchrow(_ORGANIZATION, _uuid(reference), reference)
        if row is None:
            raise OrganizationUnknown("There is no such organization.")
        return _organization(row)

    async def add_user(
        self,
        email: str,
        *,
        name: str,
        organizations: list[str],
        administrator: bool = False,
        locale: str = "en",
        password: str | None = None,
    ) -> User:
        """Add a user to organizations, given by id or name. Raises DirectoryError."""
        email = email.strip()
        if len(email) > ADDRESS_LIMIT or not _ADDRESS.fullmatch(email):
            raise DirectoryError("That is not an e-mail address such as ada@example.com.")
        if not _LOCALE.fullmatch(locale):
            raise DirectoryError("A locale looks like en, de or fr_CA.")
        if not organizations:
            raise DirectoryError("A user belongs to at least one organization.")
        if password is not None and len(password) < PASSWORD_MINIMUM:
            raise DirectoryError(f"A password has at least {PASSWORD_MINIMUM} characters.")
        ids = [(await self.organization(one)).id for one in organizations]
        password_hash = None if password is None else _hasher.hash(password)
        async with self._pool.acquire() as connection, connection.transaction():
            try:
                user_id = await connection.fetchval(
                    _ADD_USER,
                    email,
                    _clean(name, "user's name"),
                    locale,
                    administrator,
                    password_hash,
                )
            except asyncpg.UniqueViolationError:
                raise DirectoryError("A user with that e-mail address exists already.") from None
            await connection.execute(_ADD_MEMBERSHIPS, user_id, ids)
        return await self.user(str(user_id))

    async def users(self) -> list[User]:
        """Return all users by address."""
        return [_user(row) for row in await self._pool.fetch(_USERS)]

    async def user(self, reference: str) -> User:
        """Return a user by id or e-mail address. Raises UserUnknown."""
        row = None
        if _is_storable(reference):
            row = await self._pool.fetchrow(_USER, _uuid(reference), reference.strip())
        if row is None:
            raise UserUnknown("There is no such user.")
        return _user(row)

    async def set_organization_active(self, organization_id: str, *, active: bool) -> None:
        """Let applications of an organization work, or not."""
        await self._pool.execute(_SET_ORGANIZATION_ACTIVE, organization_id, active)

    async def set_user_active(self, user_id: str, *, active: bool) -> None:
        """Let a user own applications that work, or not."""
        await self._pool.execute(_SET_USER_ACTIVE, user_id, active)

    async def recipient(self, user_id: str) -> Recipient | None:
        """Return whom to write to, or None when there is no such user."""
        row = await self._pool.fetchrow(_RECIPIENT, _uuid(user_id))
        return None if row is None else Recipient(**dict(row))


def _clean(name: str, what: str) -> str:
    name = name.strip()
    if not name or len(name) > 255 or _CONTROLS.search(name):
        raise DirectoryError(f"The {what} must have 1 to 255 characters, none of them a control.")
    return name


def _is_storable(text: str) -> bool:
    """Tell whether Postgres can hold the text at all; what it cannot hold names nothing."""
    return not _UNSTORABLE.search(text)


def _uuid(reference: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(reference)
    except ValueError:
        return None


def _organization(row: asyncpg.Record | None) -> Organization:
    assert row is not None  # noqa: S101 - every caller has looked
    return Organization(
        id=str(row["id"]),
        name=row["name"],
        global_access=row["global_access"],
        active=row["active"],
    )


def _user(row: asyncpg.Record) -> User:
    return User(
        id=str(row["id"]),
        email=row["email"],
        name=row["name"],
        locale=row["locale"],
        active=row["active"],
        administrator=row["administrator"],
        organizations=tuple(
            Organization(id=str(id_), name=name, global_access=global_access, active=active)
            for id_, name, global_access, active in row["organizations"]
        ),
    )


_ADD_ORGANIZATION = """
INSERT INTO registry.organizations (name, global_access) VALUES ($1, $2)
RETURNING id, name, global_access, active
"""
_ORGANIZATIONS = "SELECT id, name, global_access, active FROM registry.organizations ORDER BY name"
_ORGANIZATION = """
SELECT id, name, global_access, active FROM registry.organizations WHERE id = $1 OR name = $2
 ORDER BY (id = $1) DESC NULLS LAST LIMIT 1
"""
_ADD_USER = """
INSERT INTO registry.users (email, name, locale, administrator, password_hash)
VALUES ($1, $2, $3, $4, $5)
RETURNING id
"""
_ADD_MEMBERSHIPS = """
INSERT INTO registry.memberships (user_id, organization_id)
SELECT DISTINCT $1::uuid, o FROM unnest($2::uuid[]) AS o
"""
_USER_WITH_ORGANIZATIONS = """
SELECT u.id, u.email, u.name, u.locale, u.active, u.administrator,
       ARRAY (SELECT (o.id, o.name, o.global_access, o.active)
                FROM registry.memberships   m
                JOIN registry.organizations o ON o.id = m.organization_id
               WHERE m.user_id = u.id
               ORDER BY o.name) AS organizations
  FROM registry.users u
"""
_USERS = _USER_WITH_ORGANIZATIONS + " ORDER BY lower(u.email)"
_USER = _USER_WITH_ORGANIZATIONS + " WHERE u.id = $1 OR lower(u.email) = lower($2)"
_SET_ORGANIZATION_ACTIVE = "UPDATE registry.organizations SET active = $2 WHERE id = $1"
_SET_USER_ACTIVE = "UPDATE registry.users SET active = $2 WHERE id = $1"
_RECIPIENT = "SELECT id::text AS id, email, name, locale, active FROM registry.users WHERE id = $1"
