"""`/api/organizations`: the organizations of the directory, for administrators."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.registry.administrators import (
    READ,
    WRITE,
    Administration,
    administrator,
    organization_id_of,
)
from services.registry.bodies import MERGE_PATCH, read_json
from services.registry.directory import Organization
from services.registry.directory_bodies import OrganizationBody, OrganizationPatch
from services.registry.directory_decisions import OrganizationChange
from services.registry.directory_views import (
    OrganizationFilter,
    OrganizationPage,
    OrganizationView,
    organization_view,
)
from services.registry.operations import Operation
from services.registry.permissions import Actor
from services.registry.preconditions import at_version, etag, if_match
from shared.queries import PAGE_QUERY, flag, limit_of, query_of, text_of
from shared.web import json_response

_PAGE_QUERY: dict[str, dict[str, Any]] = {
    **PAGE_QUERY,
    "name": {"type": "string", "maxLength": 255, "description": "Part of the name, any case"},
    "active": {"type": "boolean"},
    "global_access": {"type": "boolean"},
}


class OrganizationsApi:
    """The handlers of `/api/organizations`."""

    def __init__(self, administration: Administration) -> None:
        self._at = administration

    @property
    def operations(self) -> list[Operation]:
        """Return everything that is served, as the router and the OpenAPI document need it."""
        every = "/api/organizations"
        one = every + "/{id}"
        change: dict[str, Any] = {
            "scope": WRITE,
            "answer": OrganizationView,
            "conditional": True,
        }
        return [
            Operation(
                method="GET",
                path=every,
                handler=self.list_organizations,
                scope=READ,
                answer=OrganizationPage,
                query=_PAGE_QUERY,
            ),
            Operation(
                method="POST",
                path=every,
                handler=self.add_organization,
                scope=WRITE,
                body=OrganizationBody,
                answer=OrganizationView,
                status=201,
                refusals=[409],
            ),
            Operation(
                method="GET",
                path=one,
                handler=self.show_organization,
                scope=READ,
                answer=OrganizationView,
            ),
            Operation(
                method="PATCH",
                path=one,
                handler=self.change_organization,
                body=OrganizationPatch,
                body_type=MERGE_PATCH,
                **change,
            ),
            Operation(
                method="POST", path=one + "/enable", handler=self.enable_organization, **change
            ),
            Operation(
                method="POST", path=one + "/disable", handler=self.disable_organization, **change
            ),
        ]

    async def list_organizations(self, request: Request) -> Response:
        """Return a page of the organizations that the caller rules, by name."""
        by = administrator(request)
        query = query_of(request, *_PAGE_QUERY)
        page = await self._at.views.organizations(
            OrganizationFilter(
                name=text_of(query.get("name"), "name"),
                active=flag(query.get("active"), "active"),
                global_access=flag(query.get("global_access"), "global_access"),
            ),
            by.rights,
            limit=limit_of(query),
            cursor=query.get("cursor"),
        )
        return json_response(page)

    async def add_organization(self, request: Request) -> Response:
        """Add an organization."""
        by = administrator(request)
        body = await read_json(request, OrganizationBody, limit=self._at.body_limit)
        added = await self._at.changes.add_organization(
            body.name, by.author, global_access=body.global_access
        )
        location = {"Location": f"/api/organizations/{added.id}"}
        return json_response(
            organization_view(added), 201, headers={**location, **etag(added.version)}
        )

    async def show_organization(self, request: Request) -> Response:
        """Return one organization."""
        by = administrator(request)
        return _answer(await self._visible(request, by.rights))

    async def change_organization(self, request: Request) -> Response:
        """Rename an organization, give it global access or take it."""
        by = administrator(request)
        body = await read_json(request, OrganizationPatch, MERGE_PATCH, limit=self._at.body_limit)
        with at_version(expected := await self._expected(request, by.rights)):
            changed = await self._at.changes.change_organization(
                organization_id_of(request),
                OrganizationChange(**body.model_dump(exclude_unset=True)),
                by.author,
                expected_version=expected,
            )
        return _answer(changed)

    async def enable_organization(self, request: Request) -> Response:
        """Enable an organization; its applications stay as they are."""
        return await self._turn(request, active=True)

    async def disable_organization(self, request: Request) -> Response:
        """Disable an organization and deactivate its applications."""
        return await self._turn(request, active=False)

    async def _turn(self, request: Request, *, active: bool) -> Response:
        by = administrator(request)
        with at_version(expected := await self._expected(request, by.rights)):
            turned = await self._at.switch.organization(
                organization_id_of(request), by.author, active=active, expected_version=expected
            )
        return _answer(turned)

    async def _expected(self, request: Request, rights: Actor) -> int | None:
        if "if-match" not in request.headers:
            return None
        return if_match(request, (await self._visible(request, rights)).version)

    async def _visible(self, request: Request, rights: Actor) -> Organization:
        return await self._at.directory.visible_organization(organization_id_of(request), rights)


def _answer(organization: Organization) -> Response:
    return json_response(organization_view(organization), headers=etag(organization.version))
