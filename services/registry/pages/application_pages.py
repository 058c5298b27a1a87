"""The page of one application, and what is done to it from there or from a grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.registry.clock import end_of_second, now
from services.registry.directory import Directory
from services.registry.domain import (
    KEEP,
    ActivateApplication,
    Change,
    DeactivateApplication,
    DeleteApplication,
    RegistryError,
    RevokeSecret,
    RevokeTokens,
    UpdateApplication,
)
from services.registry.event_store import EventStore
from services.registry.handlers import change_application
from services.registry.pages.additions import (
    Additions,
    errors_of,
    grantable_scopes,
    moment_of,
)
from services.registry.pages.again import draws_of, sent_before
from services.registry.pages.chart import DAYS, chart_of
from services.registry.pages.chronicle import chronicle
from services.registry.pages.forms import Form
from services.registry.pages.site import HOME, Site
from services.registry.pages.visits import Visit
from services.registry.pages.words import ago, field_of, times
from services.registry.ports import WrongExpectedVersion
from services.registry.public_keys import keys_in
from services.registry.rotation import rotate_secret
from services.registry.terms import admitted
from services.registry.usage import UsageRecords
from services.registry.views import ApplicationView, ApplicationViews, jwks_view
from services.registry.visible import VisibleApplications, application_id_of
from shared.config import Settings
from shared.envelope import encode_json
from shared.problem import Problem

CHANGED_MEANWHILE = (
    "Somebody else has changed this application meanwhile. Your entries are kept here: look at "
    "what is different, and save again to let yours stand."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked before something is done, and what was done then."""

    title: str
    text: str
    button: str
    notice: str
    command: Change
    stops: bool = False


# The words are those of the product that people come from.
DEACTIVATE = Question(
    title="Deactivate Confirmation",
    text="Are you sure you want to deactivate the application?",
    button="Yes, do it",
    notice="Deactivated successfully",
    command=DeactivateApplication(),
    stops=True,
)
DELETE = Question(
    title="Delete Confirmation",
    text="Are you sure you want to delete the application?",
    button="Yes, Delete",
    notice="Deleted successfully",
    command=DeleteApplication(),
    stops=True,
)


class ApplicationPages:
    """The pages under `/applications/{id}`."""

    def __init__(
        self,
        site: Site,
        settings: Settings,
        additions: Additions,
        *,
        store: EventStore,
        views: ApplicationViews,
        directory: Directory,
        usage: UsageRecords,
    ) -> None:
        self._site = site
        self._settings = settings
        self._additions = additions
        self._store = store
        self._views = views
        self._directory = directory
        self._visible = VisibleApplications(store, views, directory)
        self._usage = usage

    @property
    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        one = "/applications/{id}"
        route = self._site.route
        return [
            route(one, self.show),
            route(f"{one}/edit", self.show_edit, self.take_edit),
            route(f"{one}/activate", take=self.activate),
            route(f"{one}/deactivate", self.ask_deactivate, self.deactivate),
            route(f"{one}/rotate-secret", self.ask_rotate, self.rotate),
            route(f"{one}/revoke-tokens", self.ask_revoke_tokens, self.revoke_tokens),
            route(f"{one}/delete", self.ask_delete, self.delete),
            route(f"{one}/secrets/{{secret_id}}/revoke", self.ask_revoke, self.revoke),
        ]

    async def show(self, request: Request, visit: Visit) -> Response:
        """Show everything about an application; after its end, its history."""
        envelopes = await self._visible.history(request.path_params["id"], visit.user)
        first = envelopes[0].event
        application_id = first.application_id
        uses = await self._usage.of(application_id, days=DAYS)
        return self._site.page(
            request,
            "application.html",
            visit,
            application=await self._views.find(application_id),
            name=envelopes[-1].event.name,
            entries=await chronicle(envelopes, self._directory),
            chart=chart_of(uses, now().date()),
            failures=await self._usage.failures_of(application_id, days=DAYS),
            may_rotate=await self._visible.may_have_secret(visit.user, first.owner_id),
            scopes=self._settings.scopes,
            back=request.url.path,
        )

    async def show_edit(self, request: Request, visit: Visit) -> Response:
        """Show the form with what is."""
        view = await self._view(request, visit)
        form = Form(_fields(view, request.query_params.get("back", "")))
        if "name" in request.query_params:
            # What was typed before a login, and what it was typed over.
            form = Form(request.query_params.multi_items())
        return self._form(request, visit, view, form)

    async def take_edit(self, request: Request, visit: Visit, form: Form) -> Response:
        """Change an application, unless somebody else did so meanwhile."""
        view = await self._view(request, visit)
        try:
            command = UpdateApplication(
                name=form.text("name"),
                description=form.text("description"),
                scopes=tuple(form.texts("scopes")),
                expires_at=_end(form, view),
                active=form.flag("active"),
                keys=keys_in(form.text("keys")),
            )
            command = admitted(command, view, by=visit.user, settings=self._settings, now=now())
            if jwks_view(command.keys if command.keys is not KEEP else ()) != view.jwks:
                # Whoever gives it a key can act as it: as whoever has its secret.
                await self._require_secret(visit, view)
            await change_application(
                self._store,
                view.id,
                command,
                visit.context(),
                expected_version=_version(form),
            )
        except WrongExpectedVersion:
            view = await self._view(request, visit)
            if _is_done(command, view):
                # Sent twice: what was wanted is so.
                return await self._site.done(request, visit, form, "Saved successfully")
            form = form.with_text("version", str(view.version))
            return self._form(
                request, visit, view, form, status=409, errors={"": CHANGED_MEANWHILE}
            )
        except RegistryError as error:
            status, errors = errors_of(error)
            return self._form(request, visit, view, form, status=status, errors=errors)
        return await self._site.done(request, visit, form, "Saved successfully")

    async def activate(self, request: Request, visit: Visit, form: Form) -> Response:
        """Let the application obtain tokens; nobody is asked."""
        return await self._change(
            request, visit, form, ActivateApplication(), "Activated successfully"
        )

    async def ask_deactivate(self, request: Request, visit: Visit) -> Response:
        """Ask before."""
        return await self._ask(request, visit, DEACTIVATE)

    async def deactivate(self, request: Request, visit: Visit, form: Form) -> Response:
        """Let the application obtain no more tokens."""
        return await self._change(request, visit, form, DEACTIVATE.command, DEACTIVATE.notice)

    async def ask_delete(self, request: Request, visit: Visit) -> Response:
        """Ask before."""
        return await self._ask(request, visit, DELETE)

    async def delete(self, request: Request, visit: Visit, form: Form) -> Response:
        """Remove the application; a second time nothing is left to be done."""
        if await self._views.find(application_id_of(request.path_params["id"])) is None:
            return await self._site.done(request, visit, form, DELETE.notice)
        return await self._change(request, visit, form, DELETE.command, DELETE.notice)

    async def ask_revoke_tokens(self, request: Request, visit: Visit) -> Response:
        """Ask before."""
        return await self._ask(request, visit, _revoke_tokens())

    async def revoke_tokens(self, request: Request, visit: Visit, form: Form) -> Response:
        """End the access tokens that were issued up to now."""
        question = _revoke_tokens()
        return await self._change(request, visit, form, question.command, question.notice)

    async def ask_revoke(self, request: Request, visit: Visit) -> Response:
        """Ask before."""
        view = await self._view(request, visit)
        return await self._ask(request, visit, _revoke(view, request))

    async def revoke(self, request: Request, visit: Visit, form: Form) -> Response:
        """End one secret now."""
        view = await self._view(request, visit)
        question = _revoke(view, request)
        return await self._change(request, visit, form, question.command, question.notice)

    async def ask_rotate(self, request: Request, visit: Visit) -> Response:
        """Ask how long the old secret lives on."""
        view = await self._view(request, visit)
        await self._require_secret(visit, view)
        return self._site.page(
            request,
            "rotate.html",
            visit,
            application=view,
            overlaps=_overlaps(self._settings),
            back=request.query_params.get("back", HOME),
        )

    async def rotate(self, request: Request, visit: Visit, form: Form) -> Response:
        """Give the application another secret, and show it this once."""
        view = await self._view(request, visit)
        await self._require_secret(visit, view)
        back = form.text("back")
        draws = draws_of(visit, "rotate", view.id, form.text("version"), form.text("overlap"))
        before = await sent_before(self._store, draws)
        if before is not None:
            return await self._additions.credentials_again(request, visit, *before, back)
        if _version(form) != view.version:
            raise Problem(409, "The application was changed meanwhile; look at it, and try again.")
        overlaps = {str(int(one.total_seconds())): one for one in _overlaps(self._settings)}
        if form.text("overlap") not in overlaps:
            raise Problem(400, "Choose how long the old secret is good beside the new one.")
        rotated = await rotate_secret(
            self._store,
            view,
            overlap=overlaps[form.text("overlap")],
            context=visit.context(draws),
        )
        return self._additions.credentials(
            request, visit, rotated.view, rotated.client_secret, back
        )

    async def _ask(self, request: Request, visit: Visit, question: Question) -> Response:
        view = await self._view(request, visit)
        return self._site.page(
            request,
            "confirm.html",
            visit,
            application=view,
            question=question,
            use=await self._use(view) if question.stops else "",
            back=request.query_params.get("back", HOME),
        )

    async def _use(self, view: ApplicationView) -> str:
        """Return what will stop, in a sentence."""
        if view.last_used_at is None:
            return "It has never been used."
        count = await self._usage.of_last_day(view.id)
        if count == 0:
            return f"It was used last {ago(view.last_used_at)}."
        return f"Used {times(count)} in the last 24 hours, last {ago(view.last_used_at)}."

    async def _change(
        self, request: Request, visit: Visit, form: Form, command: Change, notice: str
    ) -> Response:
        view = await self._view(request, visit)
        await change_application(self._store, view.id, command, visit.context())
        return await self._site.done(request, visit, form, notice)

    def _form(
        self,
        request: Request,
        visit: Visit,
        view: ApplicationView,
        form: Form,
        *,
        status: int = 200,
        errors: Mapping[str, str] | None = None,
    ) -> Response:
        scopes = grantable_scopes(self._settings, visit)
        # Those it has may be kept, whoever gave them.
        had = {
            one: self._settings.scopes[one] for one in view.scopes if one in self._settings.scopes
        }
        return self._site.page(
            request,
            "form.html",
            visit,
            status=status,
            title="Edit OAuth Application",
            button="Save",
            form=form,
            application=view,
            errors=errors or {},
            for_others=False,
            organizations=[],
            names_organization=False,
            scopes={**scopes, **had},
            back=form.text("back") or HOME,
        )

    async def _view(self, request: Request, visit: Visit) -> ApplicationView:
        return await self._visible.view(request.path_params["id"], visit.user)

    async def _require_secret(self, visit: Visit, view: ApplicationView) -> None:
        await self._visible.require_secret(visit.user, view)
        if visit.keys_missing:
            raise Problem(
                503, "New secrets cannot be used as long as the signing keys are missing."
            )


def _version(form: Form) -> int:
    text = form.text("version")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Problem(400, "Load the page again: the form has no version.")
    return int(text)


def _fields(view: ApplicationView, back: str) -> list[tuple[str, str]]:
    """Return what stands in the form at first."""
    return [
        ("name", view.name),
        ("description", view.description),
        *(("scopes", one) for one in view.scopes),
        ("expires_at", field_of(view.expires_at)),
        *([("active", "on")] if view.active else []),
        ("keys", "" if view.jwks is None else encode_json(view.jwks).decode()),
        ("version", str(view.version)),
        ("back", back),
    ]


def _end(form: Form, view: ApplicationView) -> datetime | None:
    """Return the end that was chosen; one that was left as it is keeps its seconds."""
    chosen = moment_of(form)
    if view.expires_at is not None and field_of(chosen) == field_of(view.expires_at):
        return view.expires_at
    return chosen


def _is_done(command: UpdateApplication, view: ApplicationView) -> bool:
    wanted = (command.name, command.description, command.scopes, command.active)
    return wanted == (view.name, view.description, tuple(view.scopes), view.active) and (
        command.expires_at == view.expires_at
        and command.keys is not KEEP
        and jwks_view(command.keys) == view.jwks
    )


def _revoke_tokens() -> Question:
    return Question(
        title="Revoke Confirmation",
        text="Are you sure you want to revoke all access tokens that were issued up to now?",
        button="Yes, revoke",
        notice="Access tokens revoked",
        command=RevokeTokens(not_before=end_of_second(now())),
    )


def _revoke(view: ApplicationView, request: Request) -> Question:
    secret_id = request.path_params["secret_id"].lower()
    secret = next((one for one in view.secrets if one.id == secret_id), None)
    if secret is None:
        raise Problem(404, "There is no such secret; it may have been revoked already.")
    return Question(
        title="Revoke Confirmation",
        text=f"Are you sure you want to revoke the secret that ends in {secret.hint}?",
        button="Yes, revoke",
        notice="Secret revoked",
        command=RevokeSecret(secret_id=secret_id),
        stops=len(view.secrets) == 1,
    )


def _overlaps(settings: Settings) -> list[timedelta]:
    """Return how long the old secret may live on: as configured first."""
    usual = settings.registry.secret_overlap
    others = (timedelta(), timedelta(hours=1), timedelta(days=1), timedelta(days=7))
    return [usual, *(one for one in others if one != usual)]
