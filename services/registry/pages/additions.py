"""*Add Application*: for oneself from *My User*, for anybody from *System*."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.registry.creation import Forbidden, NewApplication, create
from services.registry.directory import Directory, Organization
from services.registry.domain import (
    ApplicationNotFound,
    InvalidDescription,
    InvalidName,
    RegistryError,
)
from services.registry.event_store import EventStore
from services.registry.pages.again import draws_of, sent_before
from services.registry.pages.forms import Form
from services.registry.pages.grids import LISTED
from services.registry.pages.site import HOME, KEPT, Site
from services.registry.pages.visits import Visit
from services.registry.permissions import may_grant
from services.registry.projection import NameTaken, OwnerUnavailable
from services.registry.public_keys import keys_in
from services.registry.refusals import problem_of
from services.registry.terms import FieldRefused
from services.registry.views import ApplicationView, ApplicationViews
from shared.config import Settings
from shared.moments import parse_moment
from shared.problem import KEYS_MISSING
from shared.sections import Scope

SYSTEM = "/system/oauth-applications"


class Additions:
    """The form that adds an application, and the one page with its secret."""

    def __init__(
        self,
        site: Site,
        settings: Settings,
        *,
        store: EventStore,
        views: ApplicationViews,
        directory: Directory,
    ) -> None:
        self._site = site
        self._settings = settings
        self._store = store
        self._views = views
        self._directory = directory

    @property
    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return [
            self._site.route("/my-user/applications/new", self.show, self.take),
            self._site.route(f"{SYSTEM}/new", self.show_for_others, self.take_for_others),
        ]

    async def show(self, request: Request, visit: Visit) -> Response:
        """Show the empty form, or one with what was typed before a login."""
        return await self._form(request, visit, self._begun(request))

    async def show_for_others(self, request: Request, visit: Visit) -> Response:
        """Show the form with a field for the owner."""
        _require_administrator(visit)
        return await self._form(request, visit, self._begun(request), for_others=True)

    async def take(self, request: Request, visit: Visit, form: Form) -> Response:
        """Add an application of the user's own."""
        return await self._take(request, visit, form, for_others=False)

    async def take_for_others(self, request: Request, visit: Visit, form: Form) -> Response:
        """Add an application of somebody's."""
        _require_administrator(visit)
        return await self._take(request, visit, form, for_others=True)

    def _begun(self, request: Request) -> Form:
        """Return what stands in the form at first: what was typed before a login, if anything."""
        given = [one for one in request.query_params.multi_items() if one[0] in KEPT]
        if "name" not in request.query_params:
            given += [("scopes", one) for one in self._settings.registry.default_scopes]
            given.append(("active", "on"))
        return Form([*given, ("form", secrets.token_urlsafe(12))])

    async def _take(
        self, request: Request, visit: Visit, form: Form, *, for_others: bool
    ) -> Response:
        if visit.keys_missing:
            # In the form, so that nothing that was typed is lost.
            missing = {"": KEYS_MISSING}
            return await self._form(
                request, visit, form, for_others=for_others, status=503, errors=missing
            )
        names = (
            "form",
            "name",
            "description",
            "organization",
            "owner",
            "expires_at",
            "active",
            "keys",
        )
        draws = draws_of(visit, *(form.text(one) for one in names), form.texts("scopes"))
        before = await sent_before(self._store, draws)
        if before is not None:
            return await self.credentials_again(request, visit, *before, form.text("back"))
        try:
            created = await create(
                NewApplication(
                    name=form.text("name"),
                    description=form.text("description"),
                    organization=form.text("organization") or None,
                    owner=form.text("owner").strip() or None if for_others else None,
                    active=form.flag("active"),
                    scopes=tuple(form.texts("scopes")),
                    expires_at=moment_of(form),
                    keys=keys_in(form.text("keys")),
                    current_organization_id=visit.organization.id if visit.organization else None,
                ),
                by=visit.user,
                settings=self._settings,
                store=self._store,
                directory=self._directory,
                context=visit.context(draws),
            )
        except RegistryError as error:
            status, errors = errors_of(error)
            return await self._form(
                request, visit, form, for_others=for_others, status=status, errors=errors
            )
        return self.credentials(
            request, visit, created.view, created.client_secret, form.text("back")
        )

    def credentials(
        self, request: Request, visit: Visit, view: ApplicationView, secret: str, back: str
    ) -> Response:
        """Show Client ID and Client Secret, this once.

        Nothing is read any more: whoever has the only copy of the secret must not fail.
        """
        return self._site.page(
            request,
            "credentials.html",
            visit,
            application=view,
            secret=secret,
            token_url=f"{self._settings.issuer}/oauth2-token",
            back=back or HOME,
        )

    async def credentials_again(
        self, request: Request, visit: Visit, application_id: str, secret: str, back: str
    ) -> Response:
        """Show them to whoever sent a form twice. Raises ApplicationNotFound."""
        view = await self._views.find(application_id)
        if view is None:
            raise ApplicationNotFound
        return self.credentials(request, visit, view, secret, back)

    async def _form(
        self,
        request: Request,
        visit: Visit,
        form: Form,
        *,
        for_others: bool = False,
        status: int = 200,
        errors: Mapping[str, str] | None = None,
    ) -> Response:
        organizations = await self._organizations(visit, for_others=for_others)
        return self._site.page(
            request,
            "form.html",
            visit,
            status=status,
            title="Create OAuth Application",
            button="Create",
            form=form,
            application=None,
            errors=errors or {},
            for_others=for_others,
            organizations=organizations if len(organizations) <= LISTED else [],
            names_organization=len(organizations) > LISTED,
            scopes=grantable_scopes(self._settings, visit),
            back=form.text("back") or (SYSTEM if for_others else HOME),
        )

    async def _organizations(self, visit: Visit, *, for_others: bool) -> Sequence[Organization]:
        if not for_others:
            return visit.choices
        if visit.user.actor.has_global_access:
            return [one for one in await self._directory.organizations() if one.active]
        return visit.organizations


def _require_administrator(visit: Visit) -> None:
    if not visit.user.administrator:
        raise Forbidden("Only an administrator may do this.")


def grantable_scopes(settings: Settings, visit: Visit) -> Mapping[str, Scope]:
    """Return the scopes that the user may give to an application."""
    return {
        name: scope
        for name, scope in settings.scopes.items()
        if may_grant(visit.user.actor, name, administrators_only=scope.administrators_only)
    }


def moment_of(form: Form) -> datetime | None:
    """Return the end that was chosen, in UTC, or None. Raises FieldRefused."""
    text = form.text("expires_at").strip()
    if not text:
        return None
    try:
        return parse_moment(text if text.endswith("Z") else f"{text}+00:00").astimezone(UTC)
    except ValueError:
        raise FieldRefused("Give a date and a time, or leave it empty.", "expires_at") from None


def errors_of(error: RegistryError) -> tuple[int, Mapping[str, str]]:
    """Return the status of a refused form, and a sentence for each field that is wrong."""
    match error:
        case FieldRefused():
            return 422, {str(error.path[0]): str(error)}
        case InvalidName():
            return 422, {"name": str(error)}
        case InvalidDescription():
            return 422, {"description": str(error)}
        case NameTaken():
            return 409, {"name": str(NameTaken.__doc__)}
        case OwnerUnavailable():
            return 422, {"owner": str(OwnerUnavailable.__doc__)}
    problem = problem_of(error)
    return problem.status, {"": problem.detail}
