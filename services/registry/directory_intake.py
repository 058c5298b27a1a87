"""A batch of an import: what is there by id and by name or address, and what each line makes of it.

Lines see what the lines above them have done. What is to be written is gathered, so that it can be
written at once.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeVar

from msgspec import UNSET, UnsetType

from services.registry import directory_decisions as decisions
from services.registry.directory import (
    SELECT_ORGANIZATIONS,
    SELECT_USERS,
    FieldTaken,
    FieldUnusable,
    Organization,
    User,
    is_storable,
    organization_of,
    user_of,
    uuid_of,
)
from services.registry.directory_decisions import Fact, OrganizationChange, UserChange
from services.registry.directory_lines import ById, OrganizationLine, UserLine
from services.registry.directory_writes import OrganizationWrite, UserWrite
from services.registry.passwords import check_hash
from shared.postgres import Connection

Outcome = Literal["added", "changed", "unchanged"]
T = TypeVar("T")


@dataclass(slots=True)
class Organizations:
    """The organizations that a batch is about. `kept` outlives it in a dry run."""

    kept: dict[str, Organization] = field(default_factory=dict)
    by_id: dict[str, Organization] = field(default_factory=dict)
    by_name: dict[str, str] = field(default_factory=dict)
    writes: dict[str, OrganizationWrite] = field(default_factory=dict)

    async def load(self, connection: Connection, references: Iterable[str]) -> None:
        """Read those with one of these ids or names."""
        names = [one for one in references if is_storable(one)]
        ids = [one for one in map(uuid_of, names) if one is not None]
        rows = await connection.fetch(_ORGANIZATIONS, ids, names)
        found = [organization_of(row) for row in rows]
        for one in [*(one for one in found if one.id not in self.kept), *self.kept.values()]:
            self.by_id[one.id] = one
            self.by_name[one.name] = one.id

    def take(self, line: OrganizationLine, now: datetime) -> Outcome:
        """Do what a line says. Raises FieldUnusable, FieldTaken; then nothing of it is done."""
        name = decisions.clean_organization_name(line.name)
        namesake = self.by_name.get(name)
        id_ = str(line.id) if line.id is not UNSET else namesake
        if namesake not in (None, id_):
            raise FieldTaken("another organization has this name", "name")
        before = None if id_ is None else self.by_id.get(id_)
        if before is None:
            after, facts = decisions.add_organization(
                id_ or str(uuid.uuid4()),
                name,
                global_access=_given(line.global_access) is True,
                active=_given(line.active) is not False,
                now=now,
            )
        else:
            change = OrganizationChange(
                name=name, global_access=_given(line.global_access), active=_given(line.active)
            )
            after, facts = decisions.change_organization(before, change)
            if not facts:
                return "unchanged"
            del self.by_name[before.name]
        self.by_id[after.id] = after
        self.by_name[after.name] = after.id
        earlier = self.writes.get(after.id)
        self.writes[after.id] = OrganizationWrite(
            before=before if earlier is None else earlier.before,
            after=after,
            facts=[*(earlier.facts if earlier else ()), *facts],
        )
        return "added" if before is None else "changed"

    @property
    def disabled(self) -> bool:
        """Tell whether one was disabled."""
        return any(_disables(one.facts) for one in self.writes.values())

    def keep(self) -> None:
        """Let the next batch see what was not written."""
        self.kept.update({id_: self.by_id[id_] for id_ in self.writes})

    def choose(self, references: Sequence[str | ById]) -> tuple[Organization, ...]:
        """Return organizations by id or name. Raises FieldUnusable."""
        chosen = []
        for index, one in enumerate(references):
            found = self._find(one)
            if found is None:
                raise FieldUnusable("there is no such organization", "organizations", index)
            chosen.append(found)
        return tuple(chosen)

    def _find(self, reference: str | ById) -> Organization | None:
        if isinstance(reference, ById):
            return self.by_id.get(reference.id.lower())
        found = self.by_id.get(reference.lower())
        return found or self.by_id.get(self.by_name.get(reference, ""))


@dataclass(slots=True)
class _Held:
    """A user, the address as the database compares it, and the password's hash if it matters."""

    user: User
    key: str
    password_hash: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class Users:
    """The users that a batch is about. `kept`, by id and by key, outlives it in a dry run."""

    organizations: Organizations
    kept: dict[str, _Held] = field(default_factory=dict)
    kept_keys: dict[str, str] = field(default_factory=dict)
    by_id: dict[str, _Held] = field(default_factory=dict)
    by_key: dict[str, str] = field(default_factory=dict)
    writes: dict[str, UserWrite] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)

    async def load(self, connection: Connection, lines: Sequence[UserLine]) -> None:
        """Read the users of these lines, and the organizations that the lines name."""
        references = {
            one.id if isinstance(one, ById) else one
            for line in lines
            for one in _given(line.organizations) or ()
        }
        await self.organizations.load(connection, references)
        addresses = list({line.email.strip() for line in lines if is_storable(line.email)})
        keys = await connection.fetch(_KEYS, addresses)
        self._keys = {one: row["key"] for one, row in zip(addresses, keys, strict=True)}
        ids = [line.id for line in lines if line.id is not UNSET]
        for row in await connection.fetch(_USERS, ids, list(self._keys.values())):
            held = _Held(user_of(row), row["key"])
            if held.user.id not in self.kept:
                self._hold(held)
        if any(line.password_hash is not UNSET for line in lines):
            for row in await connection.fetch(_HASHES, list(self.by_id)):
                self.by_id[str(row["id"])].password_hash = row["password_hash"]
        known = {str(id_) for id_ in ids}
        known.update(self.kept_keys.get(key, "") for key in self._keys.values())
        for id_ in known & self.kept.keys():
            self._hold(self.kept[id_])

    def take(self, line: UserLine, now: datetime) -> Outcome:
        """Do what a line says. Raises FieldUnusable, FieldTaken; then nothing of it is done."""
        address = decisions.clean_address(line.email)
        key = self._keys[address]
        namesake = self.by_key.get(key)
        id_ = str(line.id) if line.id is not UNSET else namesake
        if namesake not in (None, id_):
            raise FieldTaken("another user has this address", "email")
        held = None if id_ is None else self.by_id.get(id_)
        given_hash = _given(line.password_hash)
        other_hash = None
        if given_hash is not None and (held is None or held.password_hash != given_hash):
            other_hash = check_hash(given_hash)
        references = _given(line.organizations)
        wanted = UserChange(
            email=address,
            name=_given(line.name),
            locale=_given(line.locale),
            time_zone=_given(line.time_zone),
            administrator=_given(line.administrator),
            active=_given(line.active),
            organizations=None if references is None else self.organizations.choose(references),
            password_hash=other_hash,
        )
        if held is None:
            after, facts = decisions.add_user(id_ or str(uuid.uuid4()), wanted, now=now)
        else:
            after, facts = decisions.change_user(held.user, wanted)
            if not facts:
                return "unchanged"
            del self.by_key[held.key]
        self._hold(_Held(after, key, other_hash or (held.password_hash if held else None)))
        earlier = self.writes.get(after.id)
        self.writes[after.id] = UserWrite(
            before=earlier.before if earlier else (held.user if held else None),
            after=after,
            facts=[*(earlier.facts if earlier else ()), *facts],
            password_hash=other_hash or (earlier.password_hash if earlier else None),
        )
        return "added" if held is None else "changed"

    @property
    def disabled(self) -> bool:
        """Tell whether one was disabled."""
        return any(_disables(one.facts) for one in self.writes.values())

    def keep(self) -> None:
        """Let the next batch see what was not written."""
        for id_ in self.writes.keys() & self.kept.keys():
            if self.kept_keys.get(self.kept[id_].key) == id_:
                del self.kept_keys[self.kept[id_].key]
        for id_ in self.writes:
            self.kept[id_] = self.by_id[id_]
            self.kept_keys[self.by_id[id_].key] = id_

    def _hold(self, held: _Held) -> None:
        self.by_id[held.user.id] = held
        self.by_key[held.key] = held.user.id


def _disables(facts: Iterable[Fact]) -> bool:
    return any(one.action.endswith(".disabled") for one in facts)


def _given(value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value


_ORGANIZATIONS = (
    SELECT_ORGANIZATIONS + " WHERE o.id = ANY ($1::uuid[]) OR o.name = ANY ($2::text[])"
)
# Addresses are compared as the unique index does, and not as Python would.
_KEYS = """
SELECT lower(g.email) AS key FROM unnest($1::text[]) WITH ORDINALITY AS g (email, n) ORDER BY g.n
"""
_USERS = f"""
SELECT f.*, lower(f.email) AS key
  FROM ({SELECT_USERS} WHERE u.id = ANY ($1::uuid[]) OR lower(u.email) = ANY ($2::text[])) AS f
"""  # noqa: S608 - a constant of ours
_HASHES = "SELECT id, password_hash FROM registry.users WHERE id = ANY ($1::uuid[])"
