"""The REST API of the applications: bodies become commands, views become answers.

A caller presents an access token of the token service and acts as its application's owner.
"""

from typing import Any

from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response

from services.registry.bodies import (
    MERGE_PATCH,
    CreateBody,
    PatchBody,
    RotateBody,
    read_json,
    read_optional_json,
)
from services.registry.callers import Caller, caller_of
from services.registry.clock import end_of_second, now
from services.registry.creation import create
from services.registry.directory import Directory
from services.registry.domain import (
    KEEP,
    ActivateApplication,
    ApplicationNotFound,
    Change,
    DeactivateApplication,
    DeleteApplication,
    RevokeSecret,
    RevokeTokens,
)
from services.registry.event_store import EventStore
from services.registry.handlers import change_application
from services.registry.history import fact_of
from services.registry.list_queries import LIST_QUERY, filter_of, list_query_of, order_of
from services.registry.lists import ApplicationLists
from services.registry.operations import HISTORY, NOTHING, Operation
from services.registry.preconditions import at_version, etag, if_match
from services.registry.rotation import rotate_secret
from services.registry.terms import admitted
from services.registry.usage import DAYS_LIMIT, FailuresPage, UsagePage, UsageRecords
from services.registry.views import (
    ApplicationPage,
    ApplicationView,
    ApplicationViews,
    ApplicationWithSecret,
)
from services.registry.visible import VisibleApplications
from shared.config import Settings
from shared.queries import limit_of, query_of, whole
from shared.web import NO_STORE, json_response

READ = "applications:read"
WRITE = "applications:write"


class ApplicationsApi:
    """The handlers of `/api/applications`."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: EventStore,
        views: ApplicationViews,
        lists: ApplicationLists,
        directory: Directory,
        usage: UsageRecords,
    ) -> None:
        self._settings = settings
        self._body_limit = settings.registry.max_body
        self._store = store
        self._views = views
        self._lists = lists
        self._directory = directory
        self._visible = VisibleApplications(store, views, directory)
        self._usage = usage

    @property
    def operations(self) -> list[Operation]:
        """Return everything that is served, as the router and the OpenAPI document need it."""
        every = "/api/applications"
        one = every + "/{id}"
        change: dict[str, Any] = {"scope": WRITE, "conditional": True}
        return [
            Operation(
                method="GET",
                path=every,
                handler=self.show_all,
                scope=READ,
                answer=ApplicationPage,
                query=LIST_QUERY,
            ),
            Operation(
                method="POST",
                path=every,
                handler=self.create,
                scope=WRITE,
                body=CreateBody,
                answer=ApplicationWithSecret,
                status=201,
                refusals=[409],
            ),
            Operation(method="GET", path=one, handler=self.show, scope=READ),
            Operation(
                method="PATCH",
                path=one,
                handler=self.update,
                body=PatchBody,
                body_type=MERGE_PATCH,
                **change,
            ),
            Operation(
                method="DELETE",
                path=one,
                handler=self.delete,
                answer=NOTHING,
                status=204,
                **change,
            ),
            Operation(
                method="POST",
                path=one + "/activate",
                handler=self.activate,
                refusals=[422],
                **change,
            ),
            Operation(method="POST", path=one + "/deactivate", handler=self.deactivate, **change),
            Operation(
                method="POST",
                path=one + "/rotate-secret",
                handler=self.rotate_secret,
                body=RotateBody,
                body_is_optional=True,
                answer=ApplicationWithSecret,
                **change,
            ),
            Operation(
                method="POST", path=one + "/revoke-tokens", handler=self.revoke_tokens, **change
            ),
            Operation(
                method="DELETE",
                path=one + "/secrets/{secret_id}",
                handler=self.revoke_secret,
                answer=NOTHING,
                status=204,
                **change,
            ),
            Operation(
                method="GET",
                path=one + "/usage",
                handler=self.usage,
                scope=READ,
                answer=UsagePage,
                query={"days": {"type": "integer", "minimum": 1, "maximum": DAYS_LIMIT}},
            ),
            Operation(
                method="GET",
                path=one + "/failures",
                handler=self.failures,
                scope=READ,
                answer=FailuresPage,
                query={"days": {"type": "integer", "minimum": 1, "maximum": DAYS_LIMIT}},
            ),
            Operation(
                method="GET",
                path=one + "/events",
                handler=self.history,
                scope=READ,
                answer=HISTORY,
            ),
        ]

    async def create(self, request: Request) -> Response:
        """Add an application; the only answer that has its secret."""
        caller = caller_of(request)
        body = await read_json(request, CreateBody, limit=self._body_limit)
        created = await create(
            body.wanted(caller.organization_id),
            by=caller.user,
            settings=self._settings,
            store=self._store,
            directory=self._directory,
            context=caller.context(),
        )
        view = created.view
        answer = {**structs.asdict(view), "client_secret": created.client_secret}
        location = {"Location": f"/api/applications/{created.application_id}"}
        return json_response(answer, 201, headers={**location, **NO_STORE, **etag(view.version)})

    async def show_all(self, request: Request) -> Response:
        """Return a page of what the caller may see."""
        caller = caller_of(request)
        query = list_query_of(request)
        items, next_cursor = await self._lists.page(
            filter_of(request, query, caller.user),
            order_of(query),
            # As it was sent: here an empty limit is refused, not left out.
            limit=limit_of(dict(request.query_params)),
            cursor=query.get("cursor"),
        )
        return json_response({"items": items, "next_cursor": next_cursor})

    async def show(self, request: Request) -> Response:
        """Return one application."""
        caller = caller_of(request)
        view = await self._visible.view(request.path_params["id"], caller.user)
        return json_response(view, headers=etag(view.version))

    async def update(self, request: Request) -> Response:
        """Change what may be changed later: name, description, scopes, expiry, active."""
        caller = caller_of(request)
        body = await read_json(request, PatchBody, MERGE_PATCH, limit=self._body_limit)
        view = await self._visible.view(request.path_params["id"], caller.user)
        command = admitted(body.command(), view, by=caller.user, settings=self._settings, now=now())
        if command.keys is not KEEP:
            # Whoever gives it a key can act as it: as whoever has its secret.
            await self._visible.require_secret(caller.user, view)
        return await self._change(request, caller, view, command, version=body.version)

    async def activate(self, request: Request) -> Response:
        """Let the application obtain tokens."""
        return await self._change_visible(request, ActivateApplication())

    async def deactivate(self, request: Request) -> Response:
        """Let the application obtain no more tokens."""
        return await self._change_visible(request, DeactivateApplication())

    async def rotate_secret(self, request: Request) -> Response:
        """Give the application a new secret; the only answer that has it."""
        caller = caller_of(request)
        view = await self._visible.view(request.path_params["id"], caller.user)
        await self._visible.require_secret(caller.user, view)
        body = await read_optional_json(request, RotateBody, limit=self._body_limit)
        overlap = self._settings.registry.secret_overlap if body.overlap is None else body.overlap
        with at_version(if_match(request, view.version)):
            rotated = await rotate_secret(
                self._store,
                view,
                overlap=overlap,
                expires_at=body.expires_at,
                context=caller.context(),
            )
        answer = {**structs.asdict(rotated.view), "client_secret": rotated.client_secret}
        return json_response(answer, headers={**NO_STORE, **etag(rotated.view.version)})

    async def revoke_secret(self, request: Request) -> Response:
        """End one secret now."""
        secret_id = request.path_params["secret_id"].lower()
        await self._change_visible(request, RevokeSecret(secret_id=secret_id))
        return Response(status_code=204)

    async def revoke_tokens(self, request: Request) -> Response:
        """End all access tokens that were issued up to now."""
        return await self._change_visible(request, RevokeTokens(not_before=end_of_second(now())))

    async def delete(self, request: Request) -> Response:
        """Remove the application; removing it again changes nothing and answers the same."""
        caller = caller_of(request)
        history = await self._visible.history(request.path_params["id"], caller.user)
        with at_version(expected := if_match(request, history[-1].version)):
            await change_application(
                self._store,
                history[0].event.application_id,
                DeleteApplication(),
                caller.context(),
                expected_version=expected,
            )
        return Response(status_code=204)

    async def history(self, request: Request) -> Response:
        """Return everything that happened to an application, also after its end."""
        caller = caller_of(request)
        envelopes = await self._visible.history(request.path_params["id"], caller.user)
        return json_response({"items": [fact_of(one) for one in envelopes], "next_cursor": None})

    async def usage(self, request: Request) -> Response:
        """Return how often the application's secrets obtained tokens, day by day."""
        caller = caller_of(request)
        view = await self._visible.view(request.path_params["id"], caller.user)
        days = whole(query_of(request, "days"), "days", 30, least=1, most=DAYS_LIMIT)
        return json_response(UsagePage(items=await self._usage.of(view.id, days=days)))

    async def failures(self, request: Request) -> Response:
        """Return what the token service refused in the application's name, and why."""
        caller = caller_of(request)
        view = await self._visible.view(request.path_params["id"], caller.user)
        days = whole(query_of(request, "days"), "days", 30, least=1, most=DAYS_LIMIT)
        return json_response(FailuresPage(items=await self._usage.failures_of(view.id, days=days)))

    async def _change_visible(self, request: Request, command: Change) -> Response:
        caller = caller_of(request)
        view = await self._visible.view(request.path_params["id"], caller.user)
        return await self._change(request, caller, view, command)

    async def _change(
        self,
        request: Request,
        caller: Caller,
        view: ApplicationView,
        command: Change,
        *,
        version: int | None = None,
    ) -> Response:
        with at_version(expected := if_match(request, view.version)):
            await change_application(
                self._store,
                view.id,
                command,
                caller.context(),
                expected_version=version if expected is None else expected,
            )
        changed = await self._views.find(view.id)
        if changed is None:
            raise ApplicationNotFound
        return json_response(changed, headers=etag(changed.version))
