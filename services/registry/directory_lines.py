"""The directory as JSON lines: one organization or user a line, read and written."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from services.registry.directory import Organization, User
from services.registry.json_lines import NO_OBJECT, Fault, raw_lines_of

_MEMBER = re.compile(r"`[a-zA-Z_]{1,40}`$")


class ById(msgspec.Struct, forbid_unknown_fields=True):
    """An organization as the export names it; the name is for the reader."""

    id: str
    name: str = ""


class OrganizationLine(
    msgspec.Struct, tag_field="kind", tag="organization", forbid_unknown_fields=True
):
    """An organization: the one with this id, or without an id the one of this name."""

    name: str
    id: UUID | UnsetType = UNSET
    global_access: bool | UnsetType = UNSET
    active: bool | UnsetType = UNSET


class UserLine(msgspec.Struct, tag_field="kind", tag="user", forbid_unknown_fields=True):
    """A user: the one with this id, or without an id the one of this address."""

    email: str
    id: UUID | UnsetType = UNSET
    name: str | UnsetType = UNSET
    locale: str | UnsetType = UNSET
    time_zone: str | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    administrator: bool | UnsetType = UNSET
    organizations: list[str | ById] | UnsetType = UNSET
    password_hash: str | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, parsed. `end` is how many bytes of the file it and all above it take."""

    number: int
    entry: OrganizationLine | UserLine
    end: int


_decoder = msgspec.json.Decoder(OrganizationLine | UserLine)


def lines_of(file: IO[bytes], on_fault: Callable[[Fault], None]) -> Iterator[Line]:
    """Yield the lines of a file; what is none is told, and skipped. Empty ones are fine."""
    for raw in raw_lines_of(file, on_fault):
        try:
            yield Line(raw.number, _decoder.decode(raw.content), raw.end)
        except msgspec.ValidationError as error:
            on_fault(Fault(raw.number, _sentence(error)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            on_fault(Fault(raw.number, NO_OBJECT))


def _sentence(error: msgspec.ValidationError) -> str:
    """Return what is wrong, without the value that is: it may be a name or an address."""
    text = str(error)
    if text.startswith("Invalid value"):
        return "kind must be organization or user"
    if text.startswith("Object contains unknown field") and not _MEMBER.search(text):
        return "object contains an unknown field"
    return text[0].lower() + text[1:].replace("`$.", "`")


def organization_line(organization: Organization) -> bytes:
    """Return an organization as its line."""
    return _line(
        {
            "kind": "organization",
            "id": organization.id,
            "name": organization.name,
            "global_access": organization.global_access,
            "active": organization.active,
        }
    )


def user_line(user: User, password_hash: str | None = None) -> bytes:
    """Return a user as their line, with the password's hash if one is given."""
    line: dict[str, Any] = {
        "kind": "user",
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "locale": user.locale,
        "time_zone": user.time_zone,
        "active": user.active,
        "administrator": user.administrator,
        "organizations": [{"id": one.id, "name": one.name} for one in user.organizations],
    }
    if password_hash is not None:
        line["password_hash"] = password_hash
    return _line(line)


def _line(line: dict[str, Any]) -> bytes:
    return msgspec.json.encode(line) + b"\n"
