"""What the REST API is sent: the form of each body, and a sentence for each fault in one."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar, overload

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from starlette.requests import Request

from services.registry.creation import NewApplication
from services.registry.domain import KEEP, UpdateApplication
from services.registry.public_keys import MOST_KEYS, keys_of
from services.registry.rotation import LONGEST_OVERLAP
from shared.config import LONGEST_OF_AN_APPLICATION
from shared.problem import FieldError, Problem, pointer_to
from shared.setting_values import Duration, DurationOrZero
from shared.web import read_body

OVERLAP = {
    "description": "A duration such as 24h or 30m, or a number of seconds",
    "anyOf": [
        {"type": "string", "pattern": r"^\d{1,4}(ms|s|m|h)$", "examples": ["24h"]},
        {"type": "number", "minimum": 0, "maximum": LONGEST_OVERLAP.total_seconds()},
    ],
}
MERGE_PATCH = "application/merge-patch+json"
_BRANCHES = ("constrained-str", "ById")

Parsed = TypeVar("Parsed", bound=BaseModel)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        message = "Give a year from 1 to 9999, in UTC"
        raise ValueError(message) from None


class Body(BaseModel):
    """What every body is: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ById(Body):
    """A reference as the representation shows it."""

    id: Annotated[str, Field(min_length=1)]
    name: str | None = None


# What a name may be is for the domain to say; this is for the OpenAPI document.
Name = Annotated[
    str, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"})
]
Scopes = Annotated[list[str], Field(max_length=100)]
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Reference = Annotated[str, Field(min_length=1, max_length=320)] | ById


JWKS = {
    "description": "A JWK set (RFC 7517) of public keys, for private_key_jwt",
    "type": "object",
    "properties": {"keys": {"type": "array", "maxItems": MOST_KEYS, "items": {"type": "object"}}},
    "required": ["keys"],
}
LIFETIME = {
    "description": "Of its access tokens: a duration such as 15m, or a number of seconds",
    "anyOf": [
        {"type": "string", "pattern": r"^\d{1,5}(s|m|h)$", "examples": ["15m"]},
        {"type": "integer", "minimum": 1, "maximum": LONGEST_OF_AN_APPLICATION.total_seconds()},
    ],
}
JwkSet = Annotated[dict[str, Any], WithJsonSchema(JWKS)]
Lifetime = Annotated[
    Duration,
    Field(ge=timedelta(seconds=1), le=LONGEST_OF_AN_APPLICATION),
    WithJsonSchema(LIFETIME),
]


def seconds_of(lifetime: timedelta | None) -> int | None:
    """Return whole seconds, or None."""
    return None if lifetime is None else int(lifetime.total_seconds())


class CreateBody(Body):
    """`POST /api/applications`. Organization and owner: an id, a name or address, or `{id}`."""

    name: Name
    description: str = ""
    organization: Reference | None = None
    owner: Reference | None = None
    active: bool = True
    scopes: Scopes | None = None
    expires_at: Moment | None = None
    secret_expires_at: Moment | None = None
    jwks: JwkSet | None = None
    token_lifetime: Lifetime | None = None

    def wanted(self, current_organization_id: str | None = None) -> NewApplication:
        """Return what is to be added, by somebody who is at work in an organization."""
        return NewApplication(
            name=self.name,
            description=self.description,
            organization=reference_of(self.organization),
            owner=reference_of(self.owner),
            active=self.active,
            scopes=None if self.scopes is None else tuple(self.scopes),
            expires_at=self.expires_at,
            secret_expires_at=self.secret_expires_at,
            keys=() if self.jwks is None else keys_of(self.jwks),
            token_seconds=seconds_of(self.token_lifetime),
            current_organization_id=current_organization_id,
        )


class PatchBody(Body):
    """`PATCH /api/applications/{id}`, a JSON merge patch (RFC 7396).

    What is absent stays. `null` removes: the description, the end in `expires_at`, the keys in
    `jwks`, the application's own `token_lifetime`.
    """

    name: Name = ""
    description: str | None = None
    active: bool = True
    scopes: Scopes = []
    expires_at: Moment | None = None
    version: int | None = Field(default=None, ge=1)
    jwks: JwkSet | None = None
    token_lifetime: Lifetime | None = None

    def command(self) -> UpdateApplication:
        """Return what is to be changed."""
        given = self.model_fields_set
        return UpdateApplication(
            name=self.name if "name" in given else KEEP,
            description=(self.description or "") if "description" in given else KEEP,
            active=self.active if "active" in given else KEEP,
            scopes=tuple(self.scopes) if "scopes" in given else KEEP,
            expires_at=self.expires_at if "expires_at" in given else KEEP,
            keys=KEEP if "jwks" not in given else () if self.jwks is None else keys_of(self.jwks),
            token_seconds=(seconds_of(self.token_lifetime) if "token_lifetime" in given else KEEP),
        )


class RotateBody(Body):
    """`POST /api/applications/{id}/rotate-secret`; without a body everything is the default.

    `expires_at` is the end of the new secret, `overlap` how long the others live on beside it.
    """

    overlap: (
        Annotated[DurationOrZero, Field(le=LONGEST_OVERLAP), WithJsonSchema(OVERLAP)] | None
    ) = None
    expires_at: Moment | None = None


async def read_json(request: Request, kind: type[Parsed], *media_types: str, limit: int) -> Parsed:
    """Return the parsed body; `limit` in bytes. Raises Problem 400, 408, 413, 415 or 422."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in ("application/json", *media_types):
        raise Problem(415, "Send the body as application/json.")
    return parse(kind, await read_body(request, limit=limit))


async def read_optional_json(request: Request, kind: type[Parsed], *, limit: int) -> Parsed:
    """Return the parsed body, or the defaults when there is none. Raises as `read_json` does."""
    if request.headers.get("content-length", "0") == "0" and (
        "transfer-encoding" not in request.headers
    ):
        return kind()
    return await read_json(request, kind, limit=limit)


def parse(kind: type[Parsed], content: bytes) -> Parsed:
    """Return a parsed body. Raises Problem 400 (not JSON) or 422 with a pointer for each fault."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        if faults[0]["type"] == "json_invalid":
            raise Problem(400, "The body is not valid JSON.") from None
        errors: dict[str, FieldError] = {}
        for fault in faults:
            # Of a union every branch complains; the member is named once.
            pointer = pointer_to(*_without_branch(fault["loc"]))
            errors.setdefault(pointer, FieldError(_sentence(fault, kind), pointer=pointer))
        raise Problem(
            422, "The body does not fit; see the errors.", errors=list(errors.values())
        ) from None


def _without_branch(path: Sequence[str | int]) -> list[str | int]:
    """Return the way to a member, without the branch of `Reference` that pydantic puts second."""
    return [part for at, part in enumerate(path) if at != 1 or part not in _BRANCHES]


def _sentence(fault: Any, kind: type[BaseModel]) -> str:
    if fault["type"] == "extra_forbidden":
        return f"There is no such member; there are: {', '.join(kind.model_fields)}."
    if fault["type"] == "missing":
        return "This member is required."
    text: str = fault["msg"]
    return f"{text}." if text[-1] not in ".!?" else text


@overload
def reference_of(given: str | ById) -> str: ...
@overload
def reference_of(given: str | ById | None) -> str | None: ...
def reference_of(given: str | ById | None) -> str | None:
    """Return the id, name or address that was given, or None."""
    return given.id if isinstance(given, ById) else given
