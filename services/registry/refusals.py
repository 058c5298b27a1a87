"""What the registry answers when it refuses: one table from refusals to problems (RFC 9457)."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.registry.creation import Forbidden
from services.registry.directory import (
    DirectoryError,
    FieldTaken,
    FieldUnusable,
    OrganizationUnknown,
    OwnsApplications,
    UserUnknown,
)
from services.registry.directory_changes import LastMembership
from services.registry.domain import (
    LIVE_SECRETS,
    ApplicationNotFound,
    InvalidDescription,
    InvalidName,
    RegistryError,
    SecretNotFound,
    TooManySecrets,
)
from services.registry.ports import WrongExpectedVersion
from services.registry.projection import NameTaken, OwnerUnavailable
from services.registry.terms import FieldRefused
from shared.failures import TransientFailure
from shared.postgres import TRANSIENT_ERRORS
from shared.problem import FieldError, Problem, pointer_to
from shared.resource_server import KeysUnavailable
from shared.web import problem_response


def problem_of(error: Exception) -> Problem:  # noqa: C901, PLR0912 - a table, in the form of a match
    """Return the answer to a refusal."""
    match error:
        case InvalidName():
            return field_problem(str(error), "name")
        case InvalidDescription():
            return field_problem(str(error), "description")
        case NameTaken():
            return Problem(
                409,
                "The application with the given name already exists.",
                errors=[FieldError("The name is taken.", pointer=pointer_to("name"))],
            )
        case OwnerUnavailable():
            return field_problem(
                "The owner or the organization is disabled, or they do not belong together.",
                "owner",
            )
        case WrongExpectedVersion():
            return Problem(409, "The application was changed meanwhile; read it and try again.")
        case ApplicationNotFound():
            return not_found()
        case SecretNotFound():
            return Problem(404, "The application has no such secret.")
        case TooManySecrets():
            return Problem(
                409,
                f"The application has {LIVE_SECRETS} secrets that are good: revoke one first, "
                "or rotate with an overlap of 0.",
            )
        case FieldTaken():
            taken = FieldError("This is taken.", pointer=pointer_to(*error.path))
            return Problem(409, str(error), errors=[taken])
        case OrganizationUnknown() | UserUnknown():
            return Problem(404, str(error))
        case LastMembership() | OwnsApplications():
            return Problem(409, str(error))
        case FieldRefused() | FieldUnusable():
            return field_problem(str(error), *error.path)
        case Forbidden():
            return Problem(403, str(error))
        case DirectoryError():
            return Problem(422, str(error))
        case KeysUnavailable():
            return try_again("Access tokens cannot be verified at the moment.")
        case _:
            return try_again("The registry's database does not answer at the moment.")


async def _on_refusal(_request: Request, error: Exception) -> Response:
    return problem_response(problem_of(error))


def not_found() -> Problem:
    """Return the answer to an application that is not there, or not for the caller."""
    return Problem(404, "There is no such application.")


def try_again(detail: str) -> Problem:
    """Return the answer while a part is away."""
    return Problem(503, detail + " Please try again.", headers={"Retry-After": "1"})


def sentence_of(error: Exception) -> str:
    """Return a refusal in one line, as the command line prints it."""
    match error:
        case FieldRefused():
            return f"{'.'.join(map(str, error.path))}: {error}"
        case InvalidName():
            return f"name: {error}"
        case InvalidDescription():
            return f"description: {error}"
    return str(error) or problem_of(error).detail


def field_problem(detail: str, *path: str | int) -> Problem:
    """Return the answer to a member that cannot be used; the path leads to it."""
    return Problem(422, detail, errors=[FieldError(detail, pointer=pointer_to(*path))])


def precondition_failed() -> Problem:
    """Return the answer to an `If-Match` that names another version."""
    return Problem(412, "What was to be changed is not at the version of If-Match; read it again.")


_Handler = Callable[[Request, Exception], Awaitable[Response]]
REFUSAL_HANDLERS: dict[Any, _Handler] = dict.fromkeys(
    (RegistryError, TransientFailure, *TRANSIENT_ERRORS), _on_refusal
)
