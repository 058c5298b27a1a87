"""What every page has in common: who visits, the frame around it, and its headers."""

import gzip
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from services.registry.directory import Directory, UserUnknown
from services.registry.domain import RegistryError
from services.registry.pages.forms import Form, form_of
from services.registry.pages.sessions import Sessions, is_proof
from services.registry.pages.visits import FORMS, Visit
from services.registry.pages.words import FILTERS
from services.registry.refusals import problem_of
from shared.config import Settings
from shared.failures import TransientFailure
from shared.logs import get_logger
from shared.postgres import POSTGRES_ERRORS
from shared.problem import KEYS_MISSING, Problem
from shared.resource_server import BearerVerifier, KeysUnavailable, NoSigningKeys
from shared.security_log import path_of, security

log = get_logger(__name__)
LOGIN = "/login"
HOME = "/my-user"
# How long a page waits to learn whether there are signing keys; it is shown in any case.
KEYS_PATIENCE_SECONDS = 0.2
# Nothing from elsewhere, nothing inline, in no frame. Like every answer they are kept by no browser
# and no proxy, so that the button that goes back never shows a secret again.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_STATIC = files("services.registry") / "static"
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

Show = Callable[[Request, Visit], Awaitable[Response]]
Take = Callable[[Request, Visit, Form], Awaitable[Response]]


class FormExpired(Problem):
    """A form that is too old, or was not ours."""

    def __init__(self) -> None:
        super().__init__(
            403, "The form is too old, or was not ours. Load the page again, and send it once more."
        )


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that is the same for everybody; its name changes with its content."""

    content: bytes
    packed: bytes
    media_type: str
    url: str


def _assets() -> dict[str, Asset]:
    found = {}
    for file in _STATIC.iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in _TYPES:
            content = file.read_bytes()
            version = hashlib.sha256(content).hexdigest()[:12]
            url = f"/static/{version}/{file.name}"
            found[file.name] = Asset(content, gzip.compress(content, mtime=0), _TYPES[kind], url)
    return found


class Site:
    """Renders pages and lets in those who are logged in."""

    def __init__(
        self,
        settings: Settings,
        *,
        sessions: Sessions,
        directory: Directory,
        verifier: BearerVerifier,
    ) -> None:
        self._limit = settings.registry.max_body
        self.sessions = sessions
        self._directory = directory
        self._verifier = verifier
        self.secure = urlsplit(settings.public_url).scheme == "https"
        # Only over TLS, and to this host alone: a neighbour's cookie is not taken for ours.
        self.cookie = "__Host-session" if self.secure else "session"
        self._assets = _assets()
        self._templates = Environment(
            loader=PackageLoader("services.registry", "templates"),
            autoescape=select_autoescape(),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(FILTERS)
        self._templates.globals.update(
            asset=lambda name: self._assets[name].url, KEYS_MISSING=KEYS_MISSING
        )

    def page(
        self,
        request: Request,
        template: str,
        visit: Visit | None,
        *,
        status: int = 200,
        **values: Any,
    ) -> Response:
        """Return a page. `back`, which anybody can put into an address, stays within this site."""
        if "back" in values:
            values["back"] = local(values["back"])
        # The dialog that a login came in between.
        reopened = local(request.query_params.get("open", ""), "")
        html = self._templates.get_template(template).render(
            visit=visit, path=request.url.path, reopened=reopened, **values
        )
        return Response(html, status, headers=HEADERS, media_type="text/html")

    def route(self, path: str, show: Show | None = None, take: Take | None = None) -> Route:
        """Return the route of a page for those who are logged in; `take` takes its form."""
        methods = [*(["GET"] if show else []), *(["POST"] if take else [])]

        async def answer(request: Request) -> Response:
            visit = None
            try:
                visit = await self.visit(request)
                if request.method == "POST":
                    # Before the session is asked for: what was typed is given back after login.
                    form = await form_of(request, limit=self._limit)
                    if visit is None:
                        return to_login(request, form, can_be_shown=show is not None)
                    self.check(request, form, visit.session.token)
                    assert take is not None  # noqa: S101 - the methods say so
                    return await take(request, visit, form)
                if visit is None:
                    return to_login(request)
                if visit.session.notice is not None and not request.headers.get("dialog"):
                    await self.sessions.tell(visit.session, None)
                assert show is not None  # noqa: S101 - likewise
                return await show(request, visit)
            except Exception as error:  # noqa: BLE001 - a person gets a page, whatever happened
                return self.refusal(request, visit, error)

        return Route(path, answer, methods=methods)

    async def visit(self, request: Request) -> Visit | None:
        """Return who visits, or None."""
        token = request.cookies.get(self.cookie, "")
        session = await self.sessions.find(token) if token else None
        if session is None:
            return None
        try:
            user = await self._directory.user(session.user_id)
        except UserUnknown:
            return None
        if not user.active:
            return None
        return Visit(session=session, user=user, keys_missing=await self._keys_missing())

    def set_cookie(
        self, response: Response, name: str, value: str, *, seconds: int | None = None
    ) -> None:
        """Set a cookie that no script reads and no other site sends with a form."""
        response.set_cookie(
            name, value, max_age=seconds, secure=self.secure, httponly=True, samesite="lax"
        )

    def drop_cookie(self, response: Response, name: str) -> None:
        """Let the browser forget a cookie."""
        response.delete_cookie(name, secure=self.secure, httponly=True, samesite="lax")

    async def done(
        self, request: Request, visit: Visit, form: Form, notice: str, *, to: str = HOME
    ) -> Response:
        """Lead back to where the form came from, and say there what was done."""
        await self.sessions.tell(visit.session, notice)
        return away(request, local(form.text("back"), to))

    def check(self, request: Request, form: Form, token: str) -> None:
        """Return if a form was made for this visitor, and sent from our page. Raises Problem."""
        site = request.headers.get("sec-fetch-site", "same-origin")
        ours = site in ("same-origin", "none")
        if not (ours and is_proof(token, FORMS, form.text("proof"))):
            security.warning("form refused", path=path_of(request.url.path), sent_from=site)
            raise FormExpired

    def refusal(self, request: Request, visit: Visit | None, error: Exception) -> Response:
        """Return the page that says why something was not done."""
        match error:
            case Problem():
                problem = error
            case RegistryError() | TransientFailure() | KeysUnavailable():
                problem = problem_of(error)
            case _ if isinstance(error, POSTGRES_ERRORS):
                problem = problem_of(error)
            case _:
                log.error("page failed", path=request.url.path, exc_info=error)
                problem = Problem(500, "Something went wrong on our side; it has been logged.")
        if problem.status == 403 and visit is not None and not isinstance(problem, FormExpired):
            security.warning("page refused", user=visit.user.id, path=path_of(request.url.path))
        response = self.page(request, "message.html", visit, status=problem.status, problem=problem)
        for name, value in problem.headers.items():
            response.headers.setdefault(name, value)
        return response

    async def nothing(self, request: Request, error: HTTPException) -> Response:
        """Return the page for an address that leads nowhere, or takes another method."""
        detail = {404: "There is nothing at this address."}.get(error.status_code, error.detail)
        problem = Problem(error.status_code, detail, headers=error.headers)
        return self.refusal(request, await self.visit(request), problem)

    async def asset(self, request: Request) -> Response:
        """Return a file that every page uses; a browser need not ask again."""
        found = self._assets.get(request.path_params["name"])
        if found is None or found.url != request.url.path:
            raise Problem(404, "There is nothing at this address.")
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable",
            "Vary": "Accept-Encoding",
        }
        # Only these: what is packed together with a form's proof would give it away by its length.
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(found.packed, headers=headers, media_type=found.media_type)
        return Response(found.content, headers=headers, media_type=found.media_type)

    async def _keys_missing(self) -> bool:
        try:
            await self._verifier.require_keys(patience=KEYS_PATIENCE_SECONDS)
        except NoSigningKeys:
            return True
        except TransientFailure:
            # Not known: whoever adds an application now can obtain tokens later.
            return False
        return False


def reads_pages(request: Request) -> bool:
    """Tell whether a person looks at the answer, and no program."""
    return "text/html" in request.headers.get("accept", "")


def to_login(request: Request, form: Form | None = None, *, can_be_shown: bool = True) -> Response:
    """Send somebody to log in, and back to this page or dialog; what was typed comes along."""
    query = list(request.query_params.multi_items()) if form is None else form.kept(*KEPT)
    is_typed = form is not None and can_be_shown and "name" in dict(query)
    here = request.url.path if not query else f"{request.url.path}?{urlencode(query)}"
    back = local(dict(query).get("back", ""))
    if not can_be_shown:
        here = back
    elif request.headers.get("dialog"):
        here = f"{back}{'&' if '?' in back else '?'}{urlencode({'open': here})}"
    after = {"next": here, **({TYPED: "1"} if is_typed else {})}
    return away(request, f"{LOGIN}?{urlencode(after)}")


# Tells the login page that there is something to come back to.
TYPED = "typed"
# Fields of forms that are filled in again after a login.
KEPT = (
    *("name", "description", "scopes", "organization", "owner", "expires_at", "active"),
    *("keys", "version", "back"),
)


def redirect(url: str) -> Response:
    """Send a browser to another page, with GET."""
    return RedirectResponse(url, 303)


def away(request: Request, url: str) -> Response:
    """Send a browser to another page, also from a dialog: there our script does it."""
    if request.headers.get("dialog"):
        return Response(status_code=204, headers={"Dialog-Location": url})
    return redirect(url)


def local(url: str, default: str = HOME) -> str:
    """Return an address within this site, or the default for any other."""
    parts = urlsplit(url)
    is_local = url.startswith("/") and not url.startswith(("//", "/\\"))
    if not is_local or parts.scheme or parts.netloc or not url.isprintable() or "\\" in url:
        return default
    return url
