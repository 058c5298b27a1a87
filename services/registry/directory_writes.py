"""The rows of the directory, and the one lock under which they change.

All who write hold the lock until they commit. So what was read under it is still so when it is
written, rights included, and entries of the audit become visible in their order.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from services.registry import addresses
from services.registry.directory import FieldTaken, Organization, OwnsApplications, User
from services.registry.directory_audit import record
from services.registry.directory_decisions import Fact
from services.registry.event_store import LOCK_LOG
from services.registry.handlers import Context
from shared.postgres import Connection, Pool, acquired

# How long a writer that says nothing may keep the locks: nobody else gets anywhere meanwhile.
SILENCE_SECONDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationWrite:
    """What becomes of an organization; `before` is None for a new one."""

    before: Organization | None
    after: Organization
    facts: Sequence[Fact]


@dataclass(frozen=True, slots=True, kw_only=True)
class UserWrite:
    """What becomes of a user; without a `password_hash` the password stays as it is.

    `erased` takes it away, so that nobody can log in.
    """

    before: User | None
    after: User
    facts: Sequence[Fact]
    password_hash: str | None = field(default=None, repr=False)
    erased: bool = False


@asynccontextmanager
async def writing(pool: Pool) -> AsyncIterator[Connection]:
    """Hold the directory's lock in a transaction that ends with the block."""
    async with acquired(pool) as connection, connection.transaction():
        await connection.execute(_LOCK)
        yield connection


async def write_organizations(
    connection: Connection, writes: Sequence[OrganizationWrite], context: Context
) -> None:
    """Store organizations and what is to be said of them. Raises FieldTaken."""
    new = [one.after for one in writes if one.before is None]
    changed = [one.after for one in writes if one.before is not None]
    try:
        if changed:
            await connection.executemany(
                _UPDATE_ORGANIZATION,
                [(one.id, one.name, one.global_access, one.active, one.version) for one in changed],
            )
        if new:
            await connection.execute(
                _ADD_ORGANIZATIONS,
                [one.id for one in new],
                [one.name for one in new],
                [one.global_access for one in new],
                [one.active for one in new],
                [one.created_at for one in new],
                [one.version for one in new],
            )
    except asyncpg.UniqueViolationError:
        names = ", ".join(repr(one.after.name) for one in writes)
        raise FieldTaken(f"An organization named {names} exists already.", "name") from None
    await record(connection, [fact for one in writes for fact in one.facts], context)


async def write_users(
    connection: Connection, writes: Sequence[UserWrite], context: Context
) -> None:
    """Store users, their memberships and what is to be said of them.

    Raises FieldTaken, OwnsApplications.
    """
    try:
        await _write_people(connection, writes)
    except asyncpg.UniqueViolationError:
        raise FieldTaken("A user with that e-mail address exists already.", "email") from None
    joined, left = _moves(writes)
    if joined:
        await connection.execute(_JOIN, [user for user, _ in joined], [one for _, one in joined])
    await record(connection, [fact for one in writes for fact in one.facts], context)
    if left:
        await _leave(connection, left)
    if erased := [one.after.id for one in writes if one.erased]:
        # Last, likewise: no report of what is erased comes between.
        await connection.execute(LOCK_LOG)
        await addresses.erase(connection, erased)


async def _write_people(connection: Connection, writes: Sequence[UserWrite]) -> None:
    changed = [one for one in writes if one.before is not None]
    if changed:
        await connection.executemany(
            _UPDATE_USER, [_values(one.after, one.password_hash) for one in changed]
        )
        if erased := [one.after.id for one in changed if one.erased]:
            await connection.execute(_TAKE_PASSWORDS, erased)
    new = [one for one in writes if one.before is None]
    if new:
        columns = zip(*(_values(one.after, one.password_hash) for one in new), strict=True)
        await connection.execute(_ADD_USERS, *columns, [one.after.created_at for one in new])


async def _leave(connection: Connection, left: Sequence[tuple[str, str]]) -> None:
    """End memberships under the log's lock: no application can be added there meanwhile.

    Last, because nobody can append as long as it is held.
    """
    await connection.execute(LOCK_LOG)
    await _check(connection, left)
    await connection.execute(_LEAVE, [user for user, _ in left], [one for _, one in left])


async def check_departures(connection: Connection, writes: Sequence[UserWrite]) -> None:
    """Raise OwnsApplications when somebody would leave where they own applications now."""
    _, left = _moves(writes)
    if left:
        await _check(connection, left)


async def _check(connection: Connection, left: Sequence[tuple[str, str]]) -> None:
    if await connection.fetchval(_OWNS, [user for user, _ in left], [one for _, one in left]):
        raise OwnsApplications(
            "The user owns applications in this organization: delete them first."
        )


def _values(user: User, password_hash: str | None) -> tuple[object, ...]:
    return (
        user.id,
        user.email,
        user.name,
        user.locale,
        user.time_zone,
        user.administrator,
        user.active,
        password_hash,
        user.version,
    )


def _moves(writes: Sequence[UserWrite]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return who joins what, and who leaves what."""
    joined, left = [], []
    for one in writes:
        was = one.before.person.organizations if one.before else frozenset()
        will = one.after.person.organizations
        joined += [(one.after.id, organization) for organization in will - was]
        left += [(one.after.id, organization) for organization in was - will]
    return joined, left


# Without scans: the plans of foreign keys are kept for the session, also those that were made when
# the directory was small, and an import would read all users again for each membership.
_LOCK = f"""
SET LOCAL idle_in_transaction_session_timeout = '{SILENCE_SECONDS}s';
SET LOCAL enable_seqscan = off;
SELECT pg_advisory_xact_lock(hashtext('registry.directory'))
"""
_ADD_ORGANIZATIONS = """
INSERT INTO registry.organizations (id, name, global_access, active, created_at, version)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::boolean[], $4::boolean[], $5::timestamptz[],
                     $6::integer[])
"""
_UPDATE_ORGANIZATION = """
UPDATE registry.organizations
   SET name = $2, global_access = $3, active = $4, version = $5
 WHERE id = $1
"""
_ADD_USERS = """
INSERT INTO registry.users (id, email, name, locale, time_zone, administrator, active,
                            password_hash, version, created_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[],
                     $7::boolean[], $8::text[], $9::integer[], $10::timestamptz[])
"""
_UPDATE_USER = """
UPDATE registry.users
   SET email = $2, name = $3, locale = $4, time_zone = $5, administrator = $6, active = $7,
       password_hash = coalesce($8, password_hash), version = $9
 WHERE id = $1
"""
_TAKE_PASSWORDS = "UPDATE registry.users SET password_hash = NULL WHERE id = ANY ($1::uuid[])"
_JOIN = """
INSERT INTO registry.memberships (user_id, organization_id)
SELECT * FROM unnest($1::uuid[], $2::uuid[])
"""
# Statements of their own after the lock: only then do they see what the last append committed.
_OWNS = """
SELECT EXISTS (SELECT FROM registry.applications a
                 JOIN unnest($1::uuid[], $2::uuid[]) AS l (user_id, organization_id)
                   ON l.user_id = a.owner_id AND l.organization_id = a.organization_id)
"""
_LEAVE = """
DELETE FROM registry.memberships m
 USING unnest($1::uuid[], $2::uuid[]) AS l (user_id, organization_id)
 WHERE m.user_id = l.user_id AND m.organization_id = l.organization_id
"""
