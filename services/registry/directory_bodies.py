"""What the REST API of the directory is sent: the form of each body."""

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from services.registry.bodies import Body, Name, Reference
from services.registry.directory_decisions import ADDRESS_LIMIT
from services.registry.passwords import PASSWORD_MAXIMUM, PASSWORD_MINIMUM

# What these may be is for the domain to say; this is for the OpenAPI document.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
Address = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": ADDRESS_LIMIT,
            "pattern": rf"^[A-Za-z0-9._%+-]+@{_LABEL}(?:\.{_LABEL})*$",
            "examples": ["ada@example.com"],
        }
    ),
]
Locale = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "pattern": "^[a-z]{2,3}([_-][A-Z]{2})?$", "examples": ["en", "de_AT"]}
    ),
]
TimeZone = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 64,
            "description": "A name of the IANA database",
            "examples": ["UTC", "Europe/Berlin"],
        }
    ),
]
Password = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "minLength": PASSWORD_MINIMUM,
            "maxLength": PASSWORD_MAXIMUM,
            "writeOnly": True,
            "description": "Without one the user cannot log in",
        }
    ),
]


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _may_be_left_out() -> Any:
    """Return a member of a merge patch: it may be missing, but not null, which would remove it."""
    return Field(default=None, json_schema_extra=_without_default)


class OrganizationBody(Body):
    """`POST /api/organizations`."""

    name: Name
    global_access: bool = False


class OrganizationPatch(Body):
    """`PATCH /api/organizations/{id}`, a JSON merge patch (RFC 7396)."""

    name: Name = _may_be_left_out()
    global_access: bool = _may_be_left_out()


class UserBody(Body):
    """`POST /api/users`. Organizations: an id, a name, or `{id}`."""

    name: Name
    email: Address
    organizations: Annotated[list[Reference], Field(min_length=1, max_length=100)]
    locale: Locale = "en"
    time_zone: TimeZone = "UTC"
    administrator: bool = False
    password: Annotated[Password | None, Field(repr=False)] = None


class UserPatch(Body):
    """`PATCH /api/users/{id}`, a JSON merge patch (RFC 7396)."""

    name: Name = _may_be_left_out()
    email: Address = _may_be_left_out()
    locale: Locale = _may_be_left_out()
    time_zone: TimeZone = _may_be_left_out()
    administrator: bool = _may_be_left_out()
