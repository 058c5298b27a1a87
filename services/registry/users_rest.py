"""`/api/users`: the users of the directory and their memberships, for administrators."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.registry.administrators import (
    READ,
    WRITE,
    Administration,
    Administrator,
    administrator,
    organization_id_of,
    user_id_of,
)
from services.registry.bodies import MERGE_PATCH, read_json, reference_of
from services.registry.directory import User, UserUnknown
from services.registry.directory_bodies import UserBody, UserPatch
from services.registry.directory_changes import NewUser
from services.registry.directory_decisions import UserChange
from services.registry.directory_views import (
    UserFilter,
    UserPage,
    UserView,
    user_view,
)
from services.registry.operations import NOTHING, Operation
from services.registry.permissions import Actor, rules_all
from services.registry.preconditions import at_version, etag, if_match
from shared.queries import (
    ID_OR_ANY,
    PAGE_QUERY,
    flag,
    id_of,
    limit_of,
    query_of,
    text_of,
)
from shared.web import json_response

_PAGE_QUERY: dict[str, dict[str, Any]] = {
    **PAGE_QUERY,
    "name": {"type": "string", "maxLength": 255, "description": "Part of the name, any case"},
    "email": {"type": "string", "maxLength": 255, "description": "Part of the address, any case"},
    "active": {"type": "boolean"},
    "administrator": {"type": "boolean"},
    "organization": {**ID_OR_ANY, "description": "An organization's id"},
}


class UsersApi:
    """The handlers of `/api/users`."""

    def __init__(self, administration: Administration) -> None:
        self._at = administration

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
        by = administrator(request)
        query = query_of(request, *_PAGE_QUERY)
        page = await self._at.views.users(
            UserFilter(
                name=text_of(query.get("name"), "name"),
                email=text_of(query.get("email"), "email"),
                active=flag(query.get("active"), "active"),
                administrator=flag(query.get("administrator"), "administrator"),
                organization_id=id_of(query.get("organization"), "organization"),
            ),
            by.rights,
            limit=limit_of(query),
            cursor=query.get("cursor"),
        )
        return json_response(page)

    async def add_user(self, request: Request) -> Response:
        """Add a user."""
        by = administrator(request)
        body = await read_json(request, UserBody, limit=self._at.body_limit)
        added = await self._at.changes.add_user(
            NewUser(
                email=body.email,
                name=body.name,
                organizations=[reference_of(one) for one in body.organizations],
                administrator=body.administrator,
                locale=body.locale,
                time_zone=body.time_zone,
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
        by = administrator(request)
        return _answer(await self._visible(request, by.rights), by)

    async def change_user(self, request: Request) -> Response:
        """Change what is known of a user; make an administrator, or no longer one."""
        by = administrator(request)
        body = await read_json(request, UserPatch, MERGE_PATCH, limit=self._at.body_limit)
        with at_version(expected := await self._expected(request, by.rights)):
            changed = await self._at.changes.change_user(
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
        by = administrator(request)
        with at_version(expected := await self._expected(request, by.rights)):
            joined = await self._at.changes.join(
                user_id_of(request),
                organization_id_of(request, "organization_id"),
                by.author,
                expected_version=expected,
            )
        return _answer(joined, by)

    async def leave_organization(self, request: Request) -> Response:
        """End a membership; ending it again changes nothing and answers the same."""
        by = administrator(request)
        user_id = user_id_of(request)
        with at_version(expected := await self._expected(request, by.rights)):
            try:
                await self._at.changes.leave(
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
        by = administrator(request)
        with at_version(expected := await self._expected(request, by.rights)):
            turned = await self._at.switch.user(
                user_id_of(request), by.author, active=active, expected_version=expected
            )
        return _answer(turned, by)

    async def _expected(self, request: Request, rights: Actor) -> int | None:
        if "if-match" not in request.headers:
            return None
        return if_match(request, (await self._visible(request, rights)).version)

    async def _visible(self, request: Request, rights: Actor) -> User:
        return await self._at.directory.visible_user(user_id_of(request), rights)


def _answer(user: User, by: Administrator) -> Response:
    return json_response(user_view(user, by.rights), headers=etag(user.version))
