"""Logging in and out, and where one is at work."""

from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.registry.pages.forms import Form, form_of
from services.registry.pages.login import Passwords, TooManyAttempts, too_many
from services.registry.pages.sessions import new_token, proof_of
from services.registry.pages.sign_in import START
from services.registry.pages.site import HOME, LOGIN, TYPED, Site, local, redirect
from services.registry.pages.visits import FORMS, Visit
from shared.problem import Problem
from shared.sections import SignIn
from shared.security_log import security

VISITOR_SECONDS = 3600
WRONG = "E-mail address or password is wrong."


class Entrance:
    """The pages in front of all others."""

    def __init__(
        self, site: Site, passwords: Passwords, sign_in: SignIn, *, body_limit: int
    ) -> None:
        self._site = site
        self._sign_in = sign_in
        self._sessions = site.sessions
        self._passwords = passwords
        self._body_limit = body_limit
        # Ties the form to the browser that asked for it, before there is a session.
        self._visitor = site.cookie.replace("session", "visitor")

    @property
    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return [
            Route("/", self.home, methods=["GET"]),
            Route(LOGIN, self.login, methods=["GET", "POST"]),
            self._site.route("/logout", take=self.log_out),
            self._site.route("/logout-everywhere", take=self.log_out_everywhere),
            self._site.route("/my-user/organization", take=self.move),
        ]

    async def home(self, _request: Request) -> Response:
        """Lead to the page that everybody has."""
        return redirect(HOME)

    async def login(self, request: Request) -> Response:
        """Show the form, or take it."""
        try:
            if request.method == "POST":
                return await self._take(request)
            if await self._site.visit(request) is not None:
                return redirect(local(request.query_params.get("next", "")))
            return self._form(request)
        except Exception as error:  # noqa: BLE001 - a person gets a page, whatever happened
            return self._site.refusal(request, None, error)

    async def _take(self, request: Request) -> Response:
        if not self._sign_in.passwords:
            raise Problem(403, "Passwords are not used here: sign in with your identity provider.")
        form = await form_of(request, limit=self._body_limit)
        visitor = request.cookies.get(self._visitor, "")
        if not visitor:
            return self._form(request, form, 403, "Allow cookies for this site, and try again.")
        self._site.check(request, form, visitor)
        address = "" if request.client is None else request.client.host
        try:
            user_id = await self._passwords.user_of(
                form.text("email"), form.text("password"), address=address
            )
        except TooManyAttempts as error:
            response = self._form(request, form, 429, too_many(error))
            response.headers["Retry-After"] = str(error.seconds)
            return response
        if user_id is None:
            return self._form(request, form, 401, WRONG)
        # What the browser had is over, whoever set it.
        await self._sessions.end(request.cookies.get(self._site.cookie, ""))
        token = await self._sessions.begin(user_id)
        security.info("logged in", user=user_id)
        response = redirect(local(request.query_params.get("next", "")))
        self._site.set_cookie(response, self._site.cookie, token)
        self._site.drop_cookie(response, self._visitor)
        return response

    def _form(
        self, request: Request, form: Form | None = None, status: int = 200, message: str = ""
    ) -> Response:
        visitor = request.cookies.get(self._visitor) or new_token()
        after = urlencode({"next": local(request.query_params.get("next", ""))})
        response = self._site.page(
            request,
            "login.html",
            None,
            status=status,
            message=message,
            email=form.text("email") if form else "",
            proof=proof_of(visitor, FORMS),
            action=f"{LOGIN}?{after}",
            sign_in=self._sign_in,
            sign_in_url=f"{START}?{after}",
            is_return="next" in request.query_params,
            is_typed=TYPED in request.query_params,
        )
        self._site.set_cookie(response, self._visitor, visitor, seconds=VISITOR_SECONDS)
        return response

    async def log_out(self, _request: Request, visit: Visit, _form: Form) -> Response:
        """End this session."""
        await self._sessions.end(visit.session.token)
        security.info("logged out", user=visit.user.id)
        return self._gone()

    async def log_out_everywhere(self, _request: Request, visit: Visit, _form: Form) -> Response:
        """End all sessions of the user."""
        await self._sessions.end_all(visit.user.id)
        security.info("logged out everywhere", user=visit.user.id)
        return self._gone()

    def _gone(self) -> Response:
        response = redirect(LOGIN)
        self._site.drop_cookie(response, self._site.cookie)
        # Also what an older version of these pages may have left behind.
        response.headers["Clear-Site-Data"] = '"cache", "storage"'
        return response

    async def move(self, _request: Request, visit: Visit, form: Form) -> Response:
        """Be at work in another of one's organizations."""
        organization_id = form.text("organization")
        if any(one.id == organization_id for one in visit.organizations):
            await self._sessions.move_to(visit.session, organization_id)
        return redirect(local(form.text("back")))
