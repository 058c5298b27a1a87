"""The REST API of the applications: bodies become commands, views become answers.

A caller presents an access token of the token service and acts as its application's owner.
"""

import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.registry.bodies import Body, CreateBody, PatchBody, RotateBody, parse, reference_of
from services.registry.clock import end_of_second, now
from services.registry.creation import NewApplication, create
from services.registry.directory import Directory, User, UserUnknown
from services.registry.domain import (
    ActivateApplication,
    Change,
    DeactivateApplication,
    DeleteApplication,
    RenameApplication,
    RevokeSecret,
    RevokeTokens,
)
from services.registry.event_store import EventStore
from services.registry.feed import Feed
from services.registry.handlers import Context, change_application
from services.registry.openapi import CLOUDEVENTS, HISTORY, NOTHING, Operation
from services.registry.permissions import may_manage
from services.registry.ports import WrongExpectedVersion
from services.registry.queries import flag, id_of, query_of, seconds, text_of, whole
from services.registry.refusals import not_found, precondition_failed
from services.registry.rotation import rotate_secret
from services.registry.views import (
    PAGE_LIMIT,
    ApplicationPage,
    ApplicationView,
    ApplicationViews,
    ApplicationWithSecret,
    Filter,
)
from shared.config import Settings
from shared.envelope import CLOUDEVENTS_BATCH_MEDIA_TYPE, Envelope, to_cloudevent
from shared.problem import Problem
from shared.resource_server import (
    AccessToken,
    BearerVerifier,
    NoSigningKeys,
    TokenRefused,
    bearer_token,
    insufficient_scope,
    invalid_token,
    keys_missing,
)
from shared.web import json_response, read_body

READ = "applications:read"
WRITE = "applications:write"
EVENTS = "events:read"
DEFAULT_PAGE = 50
FEED_LIMIT = 1000
FEED_WAIT_SECONDS = 30.0
LOG_LIMIT = 2**63 - 1
MERGE_PATCH = "application/merge-patch+json"
NO_STORE = {"Cache-Control": "no-store"}
Handler = Callable[[Request], Awaitable[Response]]

_PAGE_QUERY: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT, "default": DEFAULT_PAGE},
    "cursor": {"type": "string", "description": "`next_cursor` of the page before"},
    "name": {"type": "string", "maxLength": 255, "description": "Part of the name, any case"},
    "active": {"type": "boolean"},
    "owner": {"type": "string", "description": "An id; empty is any"},
    "organization": {"type": "string", "description": "An id; empty is any"},
}
_FEED_QUERY: dict[str, dict[str, Any]] = {
    "after": {"type": "integer", "minimum": 0, "maximum": LOG_LIMIT, "default": 0},
    "limit": {"type": "integer", "minimum": 1, "maximum": FEED_LIMIT, "default": 100},
    "wait": {
        "type": "number",
        "minimum": 0,
        "maximum": FEED_WAIT_SECONDS,
        "description": "Seconds to wait for an event when there is none",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose token it is, and on whose behalf."""

    user: User
    token: AccessToken


class ApplicationsApi:
    """The handlers of `/api/applications` and `/api/events`."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: EventStore,
        views: ApplicationViews,
        directory: Directory,
        feed: Feed,
        verifier: BearerVerifier,
    ) -> None:
        self._settings = settings
        self._store = store
        self._views = views
        self._directory = directory
        self._feed = feed
        self._verifier = verifier

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
                query=_PAGE_QUERY,
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
                handler=self.rename,
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
                path=one + "/events",
                handler=self.history,
                scope=READ,
                answer=HISTORY,
            ),
            Operation(
                method="GET",
                path="/api/events",
                handler=self.events,
                scope=EVENTS,
                answer=CLOUDEVENTS,
                answer_type=CLOUDEVENTS_BATCH_MEDIA_TYPE,
                query=_FEED_QUERY,
            ),
        ]

    @property
    def routes(self) -> list[Route]:
        """Return the routes."""
        paths: dict[str, dict[str, Handler]] = {}
        for one in self.operations:
            paths.setdefault(one.path, {})[one.method] = one.handler
        return [_route(path, methods) for path, methods in paths.items()]

    async def create(self, request: Request) -> Response:
        """Add an application; the only answer that has its secret."""
        caller = await self._caller(request, WRITE)
        body = await self._body(request, CreateBody)
        created = await create(
            NewApplication(
                name=body.name,
                organization=reference_of(body.organization),
                owner=reference_of(body.owner),
                active=body.active,
                scopes=None if body.scopes is None else tuple(body.scopes),
            ),
            by=caller.user,
            settings=self._settings,
            store=self._store,
            directory=self._directory,
            context=self._context(caller),
        )
        view = created.view
        answer = {**_members(view), "client_secret": created.client_secret}
        location = {"Location": f"/api/applications/{created.application_id}"}
        return json_response(answer, 201, headers={**location, **NO_STORE, **_etag(view)})

    async def show_all(self, request: Request) -> Response:
        """Return a page of what the caller may see, by name."""
        caller = await self._caller(request, READ)
        query = query_of(request, "limit", "cursor", "name", "active", "owner", "organization")
        owner, organizations = _visible(caller.user)
        items, next_cursor = await self._views.page(
            Filter(
                visible_owner=owner,
                visible_organizations=organizations,
                name=text_of(query.get("name"), "name"),
                active=flag(query.get("active"), "active"),
                owner_id=id_of(query.get("owner"), "owner"),
                organization_id=id_of(query.get("organization"), "organization"),
            ),
            limit=whole(query, "limit", DEFAULT_PAGE, least=1, most=PAGE_LIMIT),
            cursor=query.get("cursor"),
        )
        return json_response({"items": items, "next_cursor": next_cursor})

    async def show(self, request: Request) -> Response:
        """Return one application."""
        caller = await self._caller(request, READ)
        view = await self._visible_view(caller, request)
        return json_response(view, headers=_etag(view))

    async def rename(self, request: Request) -> Response:
        """Change what may be changed later: the name."""
        caller = await self._caller(request, WRITE)
        body = await self._body(request, PatchBody, MERGE_PATCH)
        return await self._change(
            request, caller, RenameApplication(name=body.name), version=body.version
        )

    async def activate(self, request: Request) -> Response:
        """Let the application obtain tokens."""
        caller = await self._caller(request, WRITE)
        return await self._change(request, caller, ActivateApplication())

    async def deactivate(self, request: Request) -> Response:
        """Let the application obtain no more tokens."""
        caller = await self._caller(request, WRITE)
        return await self._change(request, caller, DeactivateApplication())

    async def rotate_secret(self, request: Request) -> Response:
        """Give the application a new secret; the only answer that has it."""
        caller = await self._caller(request, WRITE)
        view = await self._visible_view(caller, request)
        body = await self._optional_body(request, RotateBody)
        overlap = self._settings.registry.secret_overlap if body.overlap is None else body.overlap
        with _at_version(_if_match(request, view.version)):
            rotated = await rotate_secret(
                self._store, view, overlap=overlap, context=self._context(caller)
            )
        answer = {**_members(rotated.view), "client_secret": rotated.client_secret}
        return json_response(answer, headers={**NO_STORE, **_etag(rotated.view)})

    async def revoke_secret(self, request: Request) -> Response:
        """End one secret now."""
        caller = await self._caller(request, WRITE)
        secret_id = request.path_params["secret_id"].lower()
        await self._change(request, caller, RevokeSecret(secret_id=secret_id))
        return Response(status_code=204)

    async def revoke_tokens(self, request: Request) -> Response:
        """End all access tokens that were issued up to now."""
        caller = await self._caller(request, WRITE)
        return await self._change(request, caller, RevokeTokens(not_before=end_of_second(now())))

    async def delete(self, request: Request) -> Response:
        """Remove the application; removing it again changes nothing and answers the same."""
        caller = await self._caller(request, WRITE)
        application_id = _id(request)
        history = await self._manageable_history(caller, application_id)
        with _at_version(expected := _if_match(request, history[-1].version)):
            await change_application(
                self._store,
                application_id,
                DeleteApplication(),
                self._context(caller),
                expected_version=expected,
            )
        return Response(status_code=204)

    async def history(self, request: Request) -> Response:
        """Return everything that happened to an application, also after its end."""
        caller = await self._caller(request, READ)
        envelopes = await self._manageable_history(caller, _id(request))
        return json_response({"items": [fact_of(one) for one in envelopes], "next_cursor": None})

    async def events(self, request: Request) -> Response:
        """Return the public feed: CloudEvents after a position, with a long poll."""
        await self._caller(request, EVENTS)
        query = query_of(request, "after", "limit", "wait")
        page = await self._feed.page(
            whole(query, "after", 0, least=0, most=LOG_LIMIT),
            whole(query, "limit", 100, least=1, most=FEED_LIMIT),
            seconds(query, "wait", most=FEED_WAIT_SECONDS),
        )
        source = self._settings.public_url
        events = [
            to_cloudevent(one, log_epoch=page.log_epoch, source=source) for one in page.envelopes
        ]
        return json_response(
            events,
            media_type=CLOUDEVENTS_BATCH_MEDIA_TYPE,
            headers={"Log-Epoch": page.log_epoch, "Log-Head": str(page.head), **NO_STORE},
        )

    async def _change(
        self, request: Request, caller: Caller, command: Change, *, version: int | None = None
    ) -> Response:
        view = await self._visible_view(caller, request)
        with _at_version(expected := _if_match(request, view.version)):
            await change_application(
                self._store,
                view.id,
                command,
                self._context(caller),
                expected_version=version if expected is None else expected,
            )
        changed = await self._view(view.id)
        return json_response(changed, headers=_etag(changed))

    async def _caller(self, request: Request, scope: str) -> Caller:
        """Return who calls. Raises Problem 401, 403 (RFC 6750) or 503."""
        try:
            await self._verifier.require_keys()
            token = await self._verifier.verify(bearer_token(request.headers.get("authorization")))
        except NoSigningKeys:
            raise keys_missing() from None
        except TokenRefused:
            raise invalid_token() from None
        # The registry holds the truth: a token dies here with its client, at once.
        client = await self._views.caller(token.client_id)
        if client is None or not client.active:
            raise invalid_token()
        if client.not_before is not None and token.issued_at < client.not_before.timestamp():
            raise invalid_token()
        try:
            user = await self._directory.user(client.owner_id)
        except UserUnknown:
            raise invalid_token() from None
        if not user.active:
            raise invalid_token()
        if scope not in token.scopes:
            raise insufficient_scope(scope)
        return Caller(user=user, token=token)

    def _context(self, caller: Caller) -> Context:
        return Context(
            command_id=str(uuid.uuid4()),
            actor=f"user:{caller.user.id}",
            now=now,
            # Which credential it was done with: the answer to the audit's second question.
            correlation_id=f"client:{caller.token.client_id}",
        )

    async def _body(self, request: Request, kind: type[Body], *media_types: str) -> Body:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in ("application/json", *media_types):
            raise Problem(415, "Send the body as application/json.")
        return parse(kind, await read_body(request, limit=self._settings.registry.max_body))

    async def _optional_body(self, request: Request, kind: type[Body]) -> Body:
        if request.headers.get("content-length", "0") == "0" and (
            "transfer-encoding" not in request.headers
        ):
            return kind()
        return await self._body(request, kind)

    async def _view(self, application_id: str) -> ApplicationView:
        view = await self._views.find(application_id)
        if view is None:
            raise not_found()
        return view

    async def _visible_view(self, caller: Caller, request: Request) -> ApplicationView:
        view = await self._view(_id(request))
        if not may_manage(
            caller.user.actor, owner_id=view.owner.id, organization_id=view.organization.id
        ):
            # What may not be managed may not be known to exist either.
            raise not_found()
        return view

    async def _manageable_history(self, caller: Caller, application_id: str) -> list[Envelope]:
        envelopes = await self._store.load(application_id)
        if not envelopes:
            raise not_found()
        first = envelopes[0].event
        if not may_manage(
            caller.user.actor, owner_id=first.owner_id, organization_id=first.organization_id
        ):
            raise not_found()
        return envelopes


def _route(path: str, methods: dict[str, Handler]) -> Route:
    async def dispatch(request: Request) -> Response:
        structlog.contextvars.bind_contextvars(method=request.method, path=request.url.path)
        method = "GET" if request.method == "HEAD" else request.method
        return await methods[method](request)

    return Route(path, dispatch, methods=list(methods))


def _visible(user: User) -> tuple[str | None, frozenset[str] | None]:
    """Return the owner and the organizations that limit what a user sees; None for no limit."""
    actor = user.actor
    if actor.administrator and actor.has_global_access:
        return None, None
    return actor.user_id, actor.organizations if actor.administrator else frozenset()


def fact_of(envelope: Envelope) -> dict[str, Any]:
    """Return an event as the history of an application lists it."""
    return {
        "id": envelope.id,
        "type": envelope.type,
        "time": envelope.time,
        "position": envelope.position,
        "version": envelope.version,
        "actor": envelope.metadata.actor,
        "by": envelope.metadata.correlation_id,
        "data": envelope.event,
    }


def _members(view: ApplicationView) -> dict[str, Any]:
    return {name: getattr(view, name) for name in view.__struct_fields__}


def _etag(view: ApplicationView) -> dict[str, str]:
    return {"ETag": f'"{view.version}"'}


def _if_match(request: Request, version: int) -> int | None:
    """Return the version if `If-Match` names it, or None without one. Raises Problem 412."""
    value = request.headers.get("if-match")
    if value is None or value.strip() == "*":
        return None
    # A weak one too, though RFC 9110 would not have it: proxies that compress make ours weak.
    named = {one.strip().removeprefix("W/") for one in value.split(",")}
    if f'"{version}"' not in named:
        raise precondition_failed()
    return version


@contextmanager
def _at_version(expected: int | None) -> Iterator[None]:
    """Answer a lost race for the version of `If-Match` as RFC 9110, section 13.1.1, has it."""
    try:
        yield
    except WrongExpectedVersion:
        if expected is None:
            raise
        raise precondition_failed() from None


def _id(request: Request) -> str:
    try:
        return str(uuid.UUID(request.path_params["id"]))
    except ValueError:
        raise not_found() from None
