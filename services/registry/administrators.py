"""Who calls the REST API of the directory: an administrator, and over what."""

import uuid
from dataclasses import dataclass

from starlette.requests import Request

from services.registry.callers import caller_of
from services.registry.creation import Forbidden
from services.registry.directory import Directory, OrganizationUnknown, UserUnknown
from services.registry.directory_changes import Author, DirectoryChanges
from services.registry.directory_views import DirectoryViews
from services.registry.permissions import Actor
from services.registry.switch import Switch

READ = "directory:read"
WRITE = "directory:write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Administrator:
    """What the caller may do, and in whose name. A change asks for the rights again."""

    rights: Actor
    author: Author


@dataclass(frozen=True, slots=True, kw_only=True)
class Administration:
    """What the handlers of the directory work with; `body_limit` in bytes."""

    directory: Directory
    views: DirectoryViews
    changes: DirectoryChanges
    switch: Switch
    body_limit: int


def administrator(request: Request) -> Administrator:
    """Return who calls. Raises Forbidden for anybody else."""
    caller = caller_of(request)
    rights = caller.user.actor_in(caller.organization_id)
    if not rights.administrator:
        raise Forbidden("Only an administrator may do this.")
    author = Author(
        context=caller.context(),
        user_id=caller.user.id,
        organization_id=caller.organization_id,
    )
    return Administrator(rights=rights, author=author)


def organization_id_of(request: Request, name: str = "id") -> str:
    """Return the id in the path. Raises OrganizationUnknown when it can be nobody's."""
    try:
        return str(uuid.UUID(request.path_params[name]))
    except ValueError:
        raise OrganizationUnknown("There is no such organization.") from None


def user_id_of(request: Request) -> str:
    """Return the id in the path. Raises UserUnknown when it can be nobody's."""
    try:
        return str(uuid.UUID(request.path_params["id"]))
    except ValueError:
        raise UserUnknown("There is no such user.") from None
