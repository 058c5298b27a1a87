"""Changing the directory, by one recipe: lock, load, decide, ask whether one may, write.

The pages, the REST API and the command line all come through here.
"""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.registry import directory_decisions as decisions
from services.registry.creation import Forbidden
from services.registry.directory import (
    Directory,
    DirectoryError,
    FieldUnusable,
    Organization,
    OrganizationUnknown,
    User,
)
from services.registry.directory_decisions import OrganizationChange, UserChange
from services.registry.directory_writes import (
    OrganizationWrite,
    UserWrite,
    write_organizations,
    write_users,
    writing,
)
from services.registry.handlers import Context
from services.registry.passwords import hash_password
from services.registry.permissions import (
    Actor,
    may_add_user,
    may_appoint,
    may_change_organization,
    may_change_user,
    may_disable_user,
    may_join,
    may_leave,
    may_see_organization,
    may_weaken_organization,
)
from services.registry.ports import WrongExpectedVersion
from shared.postgres import Connection, Pool

ABOVE = "Only an administrator with global access may do this."


class LastMembership(DirectoryError):
    """A user belongs to at least one organization; disable the user instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who makes a change, and when. Without a `user_id` it is the operator, who may do everything.

    `organization_id` is that of the application by which a user acts, None when they act
    themselves.
    """

    context: Context
    user_id: str | None = None
    organization_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """A user as asked for; organizations by id or name. Without a password nobody can log in."""

    email: str
    name: str
    organizations: Sequence[str]
    administrator: bool = False
    locale: str = "en"
    time_zone: str = "UTC"
    password: str | None = field(default=None, repr=False)


class DirectoryChanges:
    """The changes. All raise Forbidden, DirectoryError and, with a version, WrongExpectedVersion.

    What the author may not see is unknown: OrganizationUnknown, UserUnknown.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add_organization(
        self, name: str, author: Author, *, global_access: bool = False
    ) -> Organization:
        """Add an organization. Raises FieldUnusable, FieldTaken."""
        async with writing(self._pool) as connection:
            rights = await _rights(connection, author)
            if rights is not None and not may_change_organization(rights):
                raise Forbidden(ABOVE)
            added, facts = decisions.add_organization(
                str(uuid.uuid4()),
                name,
                global_access=global_access,
                active=True,
                now=author.context.now(),
            )
            write = OrganizationWrite(before=None, after=added, facts=facts)
            await write_organizations(connection, [write], author.context)
            return await Directory(connection).visible_organization(added.id, None)

    async def change_organization(
        self,
        organization_id: str,
        change: OrganizationChange,
        author: Author,
        *,
        expected_version: int | None = None,
    ) -> Organization:
        """Change an organization. Raises FieldUnusable, FieldTaken."""
        async with writing(self._pool) as connection:
            rights = await _rights(connection, author)
            before = await Directory(connection).visible_organization(organization_id, rights)
            if rights is not None and not may_change_organization(rights):
                raise Forbidden(ABOVE)
            _check_version(before, expected_version)
            after, facts = decisions.change_organization(before, change)
            if not facts:
                return before
            weaker = before.active > after.active or before.global_access > after.global_access
            if rights is not None and weaker and not may_weaken_organization(rights, before.id):
                raise Forbidden("This is the organization from which your own rights come.")
            write = OrganizationWrite(before=before, after=after, facts=facts)
            await write_organizations(connection, [write], author.context)
            return after

    async def add_user(self, new: NewUser, author: Author) -> User:
        """Add a user. Raises FieldUnusable, FieldTaken."""
        about = (new.email, new.name, *new.organizations)
        password_hash = await _hashed(new.password, about)
        async with writing(self._pool) as connection:
            rights = await _rights(connection, author)
            organizations = await _choose(connection, rights, new.organizations)
            wanted = UserChange(
                email=new.email,
                name=new.name,
                locale=new.locale,
                time_zone=new.time_zone,
                administrator=new.administrator,
                organizations=organizations,
                password_hash=password_hash,
            )
            added, facts = decisions.add_user(str(uuid.uuid4()), wanted, now=author.context.now())
            if rights is not None and not may_add_user(
                rights,
                administrator=added.administrator,
                organizations=added.person.organizations,
            ):
                raise Forbidden(ABOVE)
            write = UserWrite(before=None, after=added, facts=facts, password_hash=password_hash)
            await write_users(connection, [write], author.context)
            return await Directory(connection).visible_user(added.id, None)

    async def change_user(
        self,
        user_id: str,
        change: UserChange,
        author: Author,
        *,
        expected_version: int | None = None,
    ) -> User:
        """Change a user. Raises FieldUnusable, FieldTaken, OwnsApplications."""
        async with writing(self._pool) as connection:
            rights = await _rights(connection, author)
            before = await Directory(connection).visible_user(user_id, rights)
            if rights is not None and not may_change_user(rights, before.person):
                raise Forbidden(
                    "Only an administrator with global access may change an administrator, or "
                    "somebody who belongs to another organization too."
                )
            _check_version(before, expected_version)
            after, facts = decisions.change_user(before, change)
            if not facts:
                return before
            if rights is not None:
                _check_fate(rights, before, after)
            write = UserWrite(
                before=before, after=after, facts=facts, password_hash=change.password_hash
            )
            await write_users(connection, [write], author.context)
            return await Directory(connection).visible_user(user_id, None)

    async def set_password(self, user_id: str, password: str, author: Author) -> User:
        """Give a user another password. Raises FieldUnusable."""
        user = await Directory(self._pool).user(user_id)
        about = (user.email, user.name, *(one.name for one in user.organizations))
        change = UserChange(password_hash=await _hashed(password, about))
        return await self.change_user(user_id, change, author)

    async def erase_user(self, user_id: str, author: Author) -> User:
        """Erase what is known of a person, for good; for the operator alone."""
        async with writing(self._pool) as connection:
            before = await Directory(connection).visible_user(user_id, None)
            after, facts = decisions.erase_user(before)
            if facts:
                write = UserWrite(before=before, after=after, facts=facts, erased=True)
                await write_users(connection, [write], author.context)
            return after

    async def join(
        self,
        user_id: str,
        organization_id: str,
        author: Author,
        *,
        expected_version: int | None = None,
    ) -> User:
        """Make a user a member, if that is not so already."""
        async with writing(self._pool) as connection:
            rights = await _rights(connection, author)
            organization = await Directory(connection).visible_organization(organization_id, rights)
            before = await Directory(connection).visible_user(user_id, rights)
            if rights is not None and not may_join(rights, before.person, organization.id):
                raise Forbidden(ABOVE)
            _check_version(before, expected_version)
            organizations = (*before.organizations, organization)
            return await _move(connection, before, organizations, author)

    async def leave(
        self,
        user_id: str,
        organization_id: str,
        author: Author,
        *,
        expected_version: int | None = None,
    ) -> User:
        """End a membership, if there is one. Raises LastMembership, OwnsApplications."""
        async with writing(self._pool) as connection:
            rights = await _rights(connection, author)
            organization = await Directory(connection).visible_organization(organization_id, rights)
            before = await Directory(connection).visible_user(user_id, rights)
            if rights is not None and not may_leave(rights, before.person, organization.id):
                raise Forbidden(
                    ABOVE if rights.user_id != user_id else "Nobody ends their own membership."
                )
            _check_version(before, expected_version)
            left = tuple(one for one in before.organizations if one.id != organization.id)
            if not left:
                raise LastMembership(
                    "A user belongs to at least one organization: add another one first, or "
                    "disable the user."
                )
            return await _move(connection, before, left, author)


async def _move(
    connection: Connection, before: User, organizations: tuple[Organization, ...], author: Author
) -> User:
    after, facts = decisions.change_user(before, UserChange(organizations=organizations))
    if not facts:
        return before
    write = UserWrite(before=before, after=after, facts=facts)
    await write_users(connection, [write], author.context)
    return await Directory(connection).visible_user(before.id, None)


async def _rights(connection: Connection, author: Author) -> Actor | None:
    """Return what the author may do at this moment; None is everything."""
    if author.user_id is None:
        return None
    user = await Directory(connection).user(author.user_id)
    organization_id = author.organization_id
    rights = user.actor if organization_id is None else user.actor_in(organization_id)
    if not user.active or not rights.administrator:
        raise Forbidden("Only an administrator may do this.")
    return rights


async def _choose(
    connection: Connection, rights: Actor | None, references: Sequence[str]
) -> tuple[Organization, ...]:
    """Return organizations given by id or name; one that may not be seen is not there."""
    chosen = []
    for index, reference in enumerate(references):
        try:
            found = await Directory(connection).organization(reference)
        except OrganizationUnknown as error:
            raise FieldUnusable(str(error), "organizations", index) from None
        if rights is not None and not may_see_organization(rights, found.id):
            raise FieldUnusable("There is no such organization.", "organizations", index)
        chosen.append(found)
    return tuple(chosen)


def _check_version(subject: Organization | User, expected: int | None) -> None:
    if expected not in (None, subject.version):
        raise WrongExpectedVersion


def _check_fate(rights: Actor, before: User, after: User) -> None:
    """Whoever changes a user may not do everything to them, least of all to themselves."""
    if before.active and not after.active and not may_disable_user(rights, before.person):
        raise Forbidden("Nobody disables themselves.")
    if before.administrator != after.administrator and not may_appoint(rights, before.person):
        myself = rights.user_id == before.id
        raise Forbidden("Nobody changes what they are themselves." if myself else ABOVE)
    was, will = before.person.organizations, after.person.organizations
    if not all(may_join(rights, before.person, one) for one in will - was) or not all(
        may_leave(rights, before.person, one) for one in was - will
    ):
        raise Forbidden(ABOVE)


async def _hashed(password: str | None, about: Sequence[str]) -> str | None:
    """Return a hash, made beside the event loop: it takes long on purpose."""
    if password is None:
        return None
    return await asyncio.to_thread(hash_password, password, about=about)
