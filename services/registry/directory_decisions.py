"""What a change of the directory makes of an organization or a user, and what the audit says of it.

Pure: ids and times come in as values. A change that changes nothing has no facts.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from services.registry.directory import FieldUnusable, Organization, User
from services.registry.time_zones import is_time_zone

# RFC 5321, section 4.5.3.1.3, less the angle brackets.
ADDRESS_LIMIT = 254
NAME_LIMIT = 255
_PART = r"[^@\s<>,;:\"()\[\]\\\x00-\x1f\x7f\ud800-\udfff]+"
_ADDRESS = re.compile(f"{_PART}@{_PART}")
# Half a character (U+D800 to U+DFFF) comes from an argument that is not UTF-8.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LOCALE = re.compile(r"[a-z]{2,3}([_-][A-Z]{2})?")
# Of these the audit keeps the values; of all else, which tells who or where a person is, only that
# it changed.
_IMPERSONAL = ("locale", "administrator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What happened to one organization or user, as the audit keeps it."""

    action: str
    kind: Literal["organization", "user"]
    subject_id: str
    details: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationChange:
    """What an organization shall be; None leaves it as it is."""

    name: str | None = None
    global_access: bool | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """What a user shall be; None leaves it as it is. `organizations` are all of them."""

    email: str | None = None
    name: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    administrator: bool | None = None
    active: bool | None = None
    organizations: tuple[Organization, ...] | None = None
    password_hash: str | None = field(default=None, repr=False)


def add_organization(
    id_: str, name: str, *, global_access: bool, active: bool, now: datetime
) -> tuple[Organization, list[Fact]]:
    """Return a new organization. Raises FieldUnusable."""
    added = Organization(
        id=id_,
        name=clean_organization_name(name),
        global_access=global_access,
        active=active,
        created_at=now,
        version=1,
    )
    to = {"name": added.name, "global_access": global_access, "active": active}
    return added, [_of(added, "added", {"to": to})]


def change_organization(
    before: Organization, change: OrganizationChange
) -> tuple[Organization, list[Fact]]:
    """Return what an organization becomes. Raises FieldUnusable."""
    wanted: dict[str, Any] = {
        "name": None if change.name is None else clean_organization_name(change.name),
        "global_access": change.global_access,
    }
    different = _different(before, wanted)
    facts = []
    if different:
        was = {name: getattr(before, name) for name in different}
        details = {"changed": [*different], "from": was, "to": dict(different)}
        facts.append(_of(before, "changed", details))
    if change.active is not None and change.active != before.active:
        different["active"] = change.active
        facts.append(_of(before, "enabled" if change.active else "disabled", {}))
    if not facts:
        return before, []
    return replace(before, **different, version=before.version + 1), facts


def add_user(id_: str, new: UserChange, *, now: datetime) -> tuple[User, list[Fact]]:
    """Return a new user; name, address and organizations must be given. Raises FieldUnusable."""
    if new.email is None:
        raise FieldUnusable("A user has an e-mail address.", "email")
    if new.name is None:
        raise FieldUnusable("A user has a name.", "name")
    organizations = _at_least_one(new.organizations or ())
    added = User(
        id=id_,
        email=clean_address(new.email),
        name=_clean_name(new.name, "user's name"),
        locale=_clean_locale("en" if new.locale is None else new.locale),
        time_zone="UTC" if new.time_zone is None else _clean_time_zone(new.time_zone),
        active=new.active is not False,
        administrator=bool(new.administrator),
        created_at=now,
        version=1,
        organizations=organizations,
    )
    to = {
        "locale": added.locale,
        "administrator": added.administrator,
        "active": added.active,
        "organizations": [one.id for one in organizations],
    }
    details = {"to": to, "has_password": new.password_hash is not None}
    return added, [_of(added, "added", details)]


def change_user(before: User, change: UserChange) -> tuple[User, list[Fact]]:
    """Return what a user becomes. A password that is given counts as another.

    Raises FieldUnusable.
    """
    wanted: dict[str, Any] = {
        "email": None if change.email is None else clean_address(change.email),
        "name": None if change.name is None else _clean_name(change.name, "user's name"),
        "locale": None if change.locale is None else _clean_locale(change.locale),
        "time_zone": None if change.time_zone is None else _clean_time_zone(change.time_zone),
        "administrator": change.administrator,
    }
    different = _different(before, wanted)
    names = [*different, *(["password"] if change.password_hash is not None else [])]
    facts = []
    if names:
        to = {name: value for name, value in different.items() if name in _IMPERSONAL}
        was = {name: getattr(before, name) for name in to}
        facts.append(_of(before, "changed", {"changed": names, "from": was, "to": to}))
    if change.organizations is not None:
        different["organizations"] = _at_least_one(change.organizations)
        facts += _moves(before, different["organizations"])
    if change.active is not None and change.active != before.active:
        different["active"] = change.active
        facts.append(_of(before, "enabled" if change.active else "disabled", {}))
    if not facts:
        return before, []
    return replace(before, **different, version=before.version + 1), facts


def erase_user(before: User) -> tuple[User, list[Fact]]:
    """Return what is left of a user whose personal data are erased: an id that owns things."""
    erased = replace(
        before,
        # No name under .invalid can ever be a mail server's (RFC 6761).
        email=f"{before.id}@erased.invalid",
        name="Erased user",
        locale="en",
        time_zone="UTC",
        administrator=False,
        active=False,
    )
    if erased == before:
        return before, []
    return replace(erased, version=before.version + 1), [_of(before, "erased", {})]


def clean_address(email: str) -> str:
    """Return an address as it is kept. Raises FieldUnusable."""
    email = email.strip()
    if len(email) > ADDRESS_LIMIT or not _ADDRESS.fullmatch(email):
        raise FieldUnusable("That is not an e-mail address such as ada@example.com.", "email")
    return email


def clean_organization_name(name: str) -> str:
    """Return a name as it is kept. Raises FieldUnusable."""
    return _clean_name(name, "organization name")


def _clean_name(name: str, what: str) -> str:
    name = name.strip()
    if not name or len(name) > NAME_LIMIT or _CONTROLS.search(name):
        raise FieldUnusable(
            f"The {what} must have 1 to {NAME_LIMIT} characters, none of them a control.", "name"
        )
    return name


def _clean_locale(locale: str) -> str:
    if not _LOCALE.fullmatch(locale):
        raise FieldUnusable("A locale looks like en, de or fr_CA.", "locale")
    return locale


def _clean_time_zone(name: str) -> str:
    if not is_time_zone(name):
        raise FieldUnusable(
            "A time zone has a name of the IANA database, such as UTC or Europe/Berlin.",
            "time_zone",
        )
    return name


def _at_least_one(organizations: Iterable[Organization]) -> tuple[Organization, ...]:
    """Return the organizations as a set would hold them, by name."""
    by_id = {one.id: one for one in organizations}
    if not by_id:
        raise FieldUnusable("A user belongs to at least one organization.", "organizations")
    return tuple(sorted(by_id.values(), key=lambda one: one.name))


def _moves(before: User, organizations: tuple[Organization, ...]) -> list[Fact]:
    was, will = ({one.id for one in some} for some in (before.organizations, organizations))
    return [
        *(_of(before, "joined", {"organization_id": one}) for one in sorted(will - was)),
        *(_of(before, "left", {"organization_id": one}) for one in sorted(was - will)),
    ]


def _different(before: Organization | User, wanted: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in wanted.items()
        if value is not None and value != getattr(before, name)
    }


def _of(subject: Organization | User, what: str, details: dict[str, Any]) -> Fact:
    kind: Literal["organization", "user"] = (
        "organization" if isinstance(subject, Organization) else "user"
    )
    return Fact(action=f"{kind}.{what}", kind=kind, subject_id=subject.id, details=details)
