"""`/api/users`: the users of the directory and their memberships, for administrators."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.registry.administrators import (
    READ,
    WRITE,
    Administrator,
    administrator,
    organization_id_of,
    user_id_of,
)
from services.registry.bodies import ById, read_json
from services.registry.callers import Callers
from services.registry.directory import Directory, User, UserUnknown
from services.registry.directory_bodies import UserBody, UserPatch
from services.registry.directory_changes import DirectoryChanges, NewUser
from services.registry.directory_decisions import UserChange
from services.registry.directory_views import (
    DirectoryViews,
    UserFilter,
    UserPage,
    UserView,
    user_view,
)
from services.registry.list_queries import DEFAULT_PAGE
from services.registry.lists import PAGE_LIMIT
from services.registry.operations import NOTHING, Operation
from services.registry.permissions import Actor, may_see_user, rules_all
from services.registry.preconditions import at_version, etag, if_match
from services.registry.queries import ID_OR_ANY, flag, id_of, query_of, text_of, whole
from services.registry.rest import MERGE_PATCH
from services.registry.switch import Switch
from shared.web import json_response

_PAGE_QUERY: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT, "default": DEFAULT_PAGE},
    "cursor": {"type": "string", "description": "`next_cursor` of the page before"},
    "name": {"type": "string", "maxLength": 255, "description": "Part of the name, any case"},
    "email": {"type": "string", "maxLength": 255, "description": "Part of the address, any case"},
    "active": {"type": "boolean"},
    "administrator": {"type": "boolean"},
    "organization": {**ID_OR_ANY, "description": "An organization's id"},
}


class UsersApi:
    """The handlers of `/api/users`."""

    def __init__(
        self,
        *,
        callers: Callers,
        directory: Directory,
        views: DirectoryViews,
        changes: DirectoryChanges,
        switch: Switch,
        body_limit: int,
    ) -> None:
        self._callers = callers
        self._directory = directory
        self._views = views
        self._changes = changes
        self._switch = switch
        self._body_limit = body_limit

    @property
    def operations(self) -> list[Operation]:
        """Return everything that is served, as the router and the OpenAPI document need it."""
        every = "/api/users"
        one = every + "/{id}"
        membership = one + "/organizations/{organization_id}"
        change: dict[str, Any] = {"scope": WRITE, "answer": UserView, "conditional": True}
        return [
            Operation(
                method="GET",
                path=every,
                handler=self.list_users,
                scope=READ,
                answer=UserPage,
                query=_PAGE_QUERY,
            ),
            Operation(
                method="POST",
                path=every,
                handler=self.add_user,
                scope=WRITE,
                body=UserBody,
                answer=UserView,
                status=201,
                refusals=[409],
            ),
            Operation(method="GET", path=one, handler=self.show_user, scope=READ, answer=UserView),
            Operation(
                method="PATCH",
                path=one,
                handler=self.change_user,
                body=UserPatch,
                body_type=MERGE_PATCH,
                **change,
            ),
            Operation(method="POST", path=one + "/enable", handler=self.enable_user, **change),
            Operation(method="POST", path=one + "/disable", handler=self.disable_user, **change),
            Operation(method="PUT", path=membership, handler=self.join_organization, **change),
            Operation(
                method="DELETE",
                path=membership,
                handler=self.leave_organization,
                status=204,
                **{**change, "answer": NOTHING},
            ),
        ]

    async def list_users(self, request: Request) -> Response:
        """Return a page of the users that the caller may see, by name."""
        by = await administrator(self._callers, request, READ)
        query = query_of(request, *_PAGE_QUERY)
        page = await self._views.users(
            UserFilter(
                name=text_of(query.get("name"), "name"),
                email=text_of(query.get("email"), "email"),
                active=flag(query.get("active"), "active"),
                administrator=flag(query.get("administrator"), "administrator"),
                organization_id=id_of(query.get("organization"), "organization"),
            ),
            by.rights,
            limit=whole(query, "limit", DEFAULT_PAGE, least=1, most=PAGE_LIMIT),
            cursor=query.get("cursor"),
        )
        return json_response(page)

    async def add_user(self, request: Request) -> Response:
        """Add a user."""
        by = await administrator(self._callers, request, WRITE)
        body = await read_json(request, UserBody, limit=self._body_limit)
        references = [one.id if isinstance(one, ById) else one for one in body.organizations]
        added = await self._changes.add_user(
            NewUser(
                email=body.email,
                name=body.name,
                organizations=references,
                administrator=body.administrator,
                locale=body.locale,
                password=body.password,
            ),
            by.author,
        )
        location = {"Location": f"/api/users/{added.id}"}
        return json_response(
            user_view(added, by.rights), 201, headers={**location, **etag(added.version)}
        )

    async def show_user(self, request: Request) -> Response:
        """Return one user."""
        by = await administrator(self._callers, request, READ)
        return _answer(await self._visible(request, by.rights), by)

    async def change_user(self, request: Request) -> Response:
        """Change a user's name, address or locale; make an administrator, or no longer one."""
        by = await administrator(self._callers, request, WRITE)
        body = await read_json(request, UserPatch, MERGE_PATCH, limit=self._body_limit)
        with at_version(expected := await self._expected(request, by.rights)):
            changed = await self._changes.change_user(
                user_id_of(request),
                UserChange(**body.model_dump(exclude_unset=True)),
                by.author,
                expected_version=expected,
            )
        return _answer(changed, by)

    async def enable_user(self, request: Request) -> Response:
        """Enable a user; the applications stay as they are."""
        return await self._turn(request, active=True)

    async def disable_user(self, request: Request) -> Response:
        """Disable a user and deactivate the user's applications."""
        return await self._turn(request, active=False)

    async def join_organization(self, request: Request) -> Response:
        """Make the user a member of the organization."""
        by = await administrator(self._callers, request, WRITE)
        with at_version(expected := await self._expected(request, by.rights)):
            joined = await self._changes.join(
                user_id_of(request),
                organization_id_of(request, "organization_id"),
                by.author,
                expected_version=expected,
            )
        return _answer(joined, by)

    async def leave_organization(self, request: Request) -> Response:
        """End a membership; ending it again changes nothing and answers the same."""
        by = await administrator(self._callers, request, WRITE)
        user_id = user_id_of(request)
        with at_version(expected := await self._expected(request, by.rights)):
            try:
                await self._changes.leave(
                    user_id,
                    organization_id_of(request, "organization_id"),
                    by.author,
                    expected_version=expected,
                )
            except UserUnknown:
                # With the membership the caller's sight of the user may have ended.
                if rules_all(by.rights):
                    raise
        return Response(status_code=204)

    async def _turn(self, request: Request, *, active: bool) -> Response:
        by = await administrator(self._callers, request, WRITE)
        with at_version(expected := await self._expected(request, by.rights)):
            turned = await self._switch.user(
                user_id_of(request), by.author, active=active, expected_version=expected
            )
        return _answer(turned, by)

    async def _expected(self, request: Request, rights: Actor) -> int | None:
        if "if-match" not in request.headers:
            return None
        return if_match(request, (await self._visible(request, rights)).version)

    async def _visible(self, request: Request, rights: Actor) -> User:
        found = await self._directory.user(user_id_of(request))
        if not may_see_user(rights, found.person):
            raise UserUnknown("There is no such user.")
        return found


def _answer(user: User, by: Administrator) -> Response:
    return json_response(user_view(user, by.rights), headers=etag(user.version))
