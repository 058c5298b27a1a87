"""The REST API of the applications: bodies become commands, views become answers.

A caller presents an access token of the token service and acts as its application's owner.
"""

import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.registry.creation import FieldRefused, Forbidden, NewApplication, create
from services.registry.directory import Directory, DirectoryError, User, UserUnknown
from services.registry.domain import (
    LIVE_SECRETS,
    ActivateApplication,
    ApplicationNotFound,
    Change,
    DeactivateApplication,
    DeleteApplication,
    InvalidName,
    RegistryError,
    RenameApplication,
    RevokeSecret,
    RevokeTokens,
    SecretNotFound,
    TooManySecrets,
)
from services.registry.event_store import EventStore
from services.registry.feed import Feed
from services.registry.handlers import Context, change_application
from services.registry.permissions import may_manage
from services.registry.ports import WrongExpectedVersion
from services.registry.projection import NameTaken, OwnerUnavailable
from services.registry.rotation import LONGEST_OVERLAP, rotate_secret
from services.registry.views import PAGE_LIMIT, ApplicationViews, Filter, InvalidCursor
from shared.config import DurationOrZero, Settings
from shared.envelope import CLOUDEVENTS_BATCH_MEDIA_TYPE, Envelope, to_cloudevent
from shared.failures import TransientFailure
from shared.postgres import TRANSIENT_ERRORS
from shared.problem import FieldError, Problem, pointer_to
from shared.resource_server import (
    AccessToken,
    BearerVerifier,
    KeysUnavailable,
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
_BRANCHES = ("constrained-str", "ById")
NO_STORE = {"Cache-Control": "no-store"}

Body = TypeVar("Body", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ById(_Body):
    """A reference as the representation shows it."""

    id: str
    name: str | None = None


Reference = Annotated[str, Field(min_length=1, max_length=320)] | ById


class CreateBody(_Body):
    """`POST /api/applications`. Organization and owner: an id, a name or address, or `{id}`."""

    name: str
    organization: Reference | None = None
    owner: Reference | None = None
    active: bool = True
    scopes: list[str] | None = Field(default=None, max_length=100)


class PatchBody(_Body):
    """`PATCH /api/applications/{id}`, a JSON merge patch (RFC 7396)."""

    name: str
    version: int | None = Field(default=None, ge=1)


class RotateBody(_Body):
    """`POST /api/applications/{id}/rotate-secret`; without a body everything is the default."""

    overlap: Annotated[DurationOrZero, Field(le=LONGEST_OVERLAP)] | None = None


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
    def routes(self) -> list[Route]:
        """Return the routes; each method of a path has its own function."""
        one = "/api/applications/{id}"
        return [
            _route("/api/applications", GET=self.show_all, POST=self.create),
            _route(one, GET=self.show, PATCH=self.rename, DELETE=self.delete),
            _route(one + "/activate", POST=self.activate),
            _route(one + "/deactivate", POST=self.deactivate),
            _route(one + "/rotate-secret", POST=self.rotate_secret),
            _route(one + "/revoke-tokens", POST=self.revoke_tokens),
            _route(one + "/secrets/{secret_id}", DELETE=self.revoke_secret),
            _route(one + "/events", GET=self.history),
            _route("/api/events", GET=self.events),
        ]

    async def create(self, request: Request) -> Response:
        """Add an application; the only answer that has its secret."""
        caller = await self._caller(request, WRITE)
        body = await self._body(request, CreateBody)
        created = await create(
            NewApplication(
                name=body.name,
                organization=_reference(body.organization),
                owner=_reference(body.owner),
                active=body.active,
                scopes=None if body.scopes is None else tuple(body.scopes),
            ),
            by=caller.user,
            settings=self._settings,
            store=self._store,
            directory=self._directory,
            context=self._context(caller),
        )
        view = await self._view(created.application_id)
        answer = {**view, "client_secret": created.client_secret}
        location = {"Location": f"/api/applications/{created.application_id}"}
        return json_response(answer, 201, headers={**location, **NO_STORE, **_etag(view)})

    async def show_all(self, request: Request) -> Response:
        """Return a page of what the caller may see, by name."""
        caller = await self._caller(request, READ)
        query = _query(request, "limit", "cursor", "name", "active", "owner", "organization")
        owner, organizations = _visible(caller.user)
        items, next_cursor = await self._views.page(
            Filter(
                visible_owner=owner,
                visible_organizations=organizations,
                name=_text(query.get("name"), "name"),
                active=_flag(query.get("active"), "active"),
                owner_id=_id_parameter(query.get("owner"), "owner"),
                organization_id=_id_parameter(query.get("organization"), "organization"),
            ),
            limit=_whole(query, "limit", DEFAULT_PAGE, least=1, most=PAGE_LIMIT),
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
        body = await self._body(request, PatchBody, "application/merge-patch+json")
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
        with _at_version(expected := _if_match(request, view["version"])):
            secret = await rotate_secret(
                self._store,
                view["id"],
                overlap=overlap,
                context=self._context(caller),
                expected_version=expected,
            )
        changed = await self._view(view["id"])
        answer = {**changed, "client_secret": secret}
        return json_response(answer, headers={**NO_STORE, **_etag(changed)})

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
        query = _query(request, "after", "limit", "wait")
        page = await self._feed.page(
            _whole(query, "after", 0, least=0, most=LOG_LIMIT),
            _whole(query, "limit", 100, least=1, most=FEED_LIMIT),
            _seconds(query, "wait", most=FEED_WAIT_SECONDS),
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
        with _at_version(expected := _if_match(request, view["version"])):
            await change_application(
                self._store,
                view["id"],
                command,
                self._context(caller),
                expected_version=version if expected is None else expected,
            )
        changed = await self._view(view["id"])
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

    async def _view(self, application_id: str) -> dict[str, Any]:
        view = await self._views.find(application_id)
        if view is None:
            raise _not_found()
        return {name: getattr(view, name) for name in view.__struct_fields__}

    async def _visible_view(self, caller: Caller, request: Request) -> dict[str, Any]:
        view = await self._view(_id(request))
        if not may_manage(
            caller.user.actor, owner_id=view["owner"].id, organization_id=view["organization"].id
        ):
            # What may not be managed may not be known to exist either.
            raise _not_found()
        return view

    async def _manageable_history(self, caller: Caller, application_id: str) -> list[Envelope]:
        envelopes = await self._store.load(application_id)
        if not envelopes:
            raise _not_found()
        first = envelopes[0].event
        if not may_manage(
            caller.user.actor, owner_id=first.owner_id, organization_id=first.organization_id
        ):
            raise _not_found()
        return envelopes


def parse(kind: type[Body], content: bytes) -> Body:
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


def problem_of(error: Exception) -> Problem:  # noqa: C901, PLR0912 - a table, in the form of a match
    """Return the answer to a refusal."""
    match error:
        case InvalidName():
            return _field_problem(str(error), "name")
        case NameTaken():
            return Problem(
                409,
                "The application with the given name already exists.",
                errors=[FieldError("The name is taken.", pointer=pointer_to("name"))],
            )
        case OwnerUnavailable():
            return _field_problem(
                "The owner or the organization is disabled, or they do not belong together.",
                "owner",
            )
        case WrongExpectedVersion():
            return Problem(409, "The application was changed meanwhile; read it and try again.")
        case ApplicationNotFound():
            return _not_found()
        case SecretNotFound():
            return Problem(404, "The application has no such secret.")
        case TooManySecrets():
            return Problem(
                409,
                f"The application has {LIVE_SECRETS} secrets that are good: revoke one first, "
                "or rotate with an overlap of 0.",
            )
        case InvalidCursor():
            return Problem(400, str(error), errors=[FieldError(str(error), parameter="cursor")])
        case FieldRefused():
            return _field_problem(str(error), *error.path)
        case Forbidden():
            return Problem(403, str(error))
        case DirectoryError():
            return Problem(422, str(error))
        case KeysUnavailable():
            return _try_again("Access tokens cannot be verified at the moment.")
        case _:
            return _try_again("The registry's database does not answer at the moment.")


async def _on_refusal(_request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    return Response(
        problem.body(),
        problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )


_Handler = Callable[[Request, Exception], Awaitable[Response]]
REFUSAL_HANDLERS: dict[Any, _Handler] = dict.fromkeys(
    (RegistryError, TransientFailure, *TRANSIENT_ERRORS), _on_refusal
)


def _route(path: str, **methods: Callable[[Request], Awaitable[Response]]) -> Route:
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


def now() -> datetime:
    """Return the time of a command."""
    return datetime.now(UTC)


def end_of_second(moment: datetime) -> datetime:
    """Return the next whole second: `iat` counts whole ones, so that of now is not over before."""
    return moment.replace(microsecond=0) + timedelta(seconds=1)


def _etag(view: dict[str, Any]) -> dict[str, str]:
    return {"ETag": f'"{view["version"]}"'}


def _if_match(request: Request, version: int) -> int | None:
    """Return the version if `If-Match` names it, or None without one. Raises Problem 412."""
    value = request.headers.get("if-match")
    if value is None or value.strip() == "*":
        return None
    # A weak one too, though RFC 9110 would not have it: proxies that compress make ours weak.
    named = {one.strip().removeprefix("W/") for one in value.split(",")}
    if f'"{version}"' not in named:
        raise _precondition_failed()
    return version


@contextmanager
def _at_version(expected: int | None) -> Iterator[None]:
    """Answer a lost race for the version of `If-Match` as RFC 9110, section 13.1.1, has it."""
    try:
        yield
    except WrongExpectedVersion:
        if expected is None:
            raise
        raise _precondition_failed() from None


def _precondition_failed() -> Problem:
    return Problem(412, "The application is not at the version of If-Match; read it again.")


def _not_found() -> Problem:
    return Problem(404, "There is no such application.")


def _try_again(detail: str) -> Problem:
    return Problem(503, detail + " Please try again.", headers={"Retry-After": "1"})


def _field_problem(detail: str, *path: str | int) -> Problem:
    return Problem(422, detail, errors=[FieldError(detail, pointer=pointer_to(*path))])


def _reference(given: str | ById | None) -> str | None:
    return given.id if isinstance(given, ById) else given


def _id(request: Request) -> str:
    try:
        return str(uuid.UUID(request.path_params["id"]))
    except ValueError:
        raise _not_found() from None


def _query(request: Request, *known: str) -> dict[str, str]:
    """Return the query's parameters, empty ones left out. Raises Problem 400 for an unknown one."""
    for name in request.query_params:
        if name not in known:
            raise _parameter(name, f"There is no such parameter; there are: {', '.join(known)}.")
    return {name: value for name, value in request.query_params.items() if value != ""}


def _parameter(name: str, detail: str) -> Problem:
    return Problem(400, detail, errors=[FieldError(detail, parameter=name)])


def _whole(query: dict[str, str], name: str, default: int, *, least: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or not least <= int(text) <= most:
        raise _parameter(name, f"Give a whole number from {least} to {most}.")
    return int(text)


def _seconds(query: dict[str, str], name: str, *, most: float) -> float:
    try:
        seconds = float(query.get(name, "0"))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= most:
        raise _parameter(name, f"Give seconds from 0 to {most:g}.")
    return seconds


def _flag(text: str | None, name: str) -> bool | None:
    if text is None:
        return None
    if text not in ("true", "false"):
        raise _parameter(name, "Give true or false.")
    return text == "true"


def _text(text: str | None, name: str) -> str | None:
    if text is not None and ("\0" in text or len(text) > 255):
        raise _parameter(name, "Give at most 255 characters, none of them NUL.")
    return text


def _id_parameter(text: str | None, name: str) -> str | None:
    if text is None:
        return None
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise _parameter(name, "Give an id.") from None
