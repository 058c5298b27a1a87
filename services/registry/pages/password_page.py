"""Changing one's own password, which takes the one that is."""

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.registry.directory import FieldUnusable
from services.registry.directory_changes import Author, DirectoryChanges
from services.registry.pages.forms import Form
from services.registry.pages.login import Passwords, TooManyAttempts, too_many
from services.registry.pages.site import HOME, Site, away
from services.registry.pages.visits import Visit
from services.registry.passwords import PASSWORD_MAXIMUM, PASSWORD_MINIMUM
from shared.problem import Problem
from shared.security_log import security

PATH = "/my-user/password"
CHANGED = "Password changed. Everywhere else you are logged out."


class PasswordPage:
    """The form, and what becomes of it."""

    def __init__(self, site: Site, passwords: Passwords, changes: DirectoryChanges) -> None:
        self._site = site
        self._passwords = passwords
        self._changes = changes

    @property
    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return [self._site.route(PATH, self.show, self.take)]

    async def show(self, request: Request, visit: Visit) -> Response:
        """Show the form."""
        if not await self._passwords.has_one(visit.user.id):
            raise Problem(404, "You have no password here: you sign in elsewhere.")
        return self._form(request, visit)

    async def take(self, request: Request, visit: Visit, form: Form) -> Response:
        """Change the password. All sessions end with the old one; this browser gets a new one."""
        current, new = form.text("current"), form.text("new")
        try:
            address = "" if request.client is None else request.client.host
            user_id = await self._passwords.user_of(visit.user.email, current, address=address)
        except TooManyAttempts as error:
            answer = self._form(request, visit, 429, {"": too_many(error)})
            answer.headers["Retry-After"] = str(error.seconds)
            return answer
        if user_id != visit.user.id:
            wrong = {"current": "This is not your password."}
            return self._form(request, visit, 422, wrong)
        if new != form.text("again"):
            return self._form(request, visit, 422, {"again": "The two are not the same."})
        if new == current:
            return self._form(request, visit, 422, {"new": "This is the password you have."})
        try:
            author = Author(context=visit.context())
            await self._changes.set_password(visit.user.id, new, author)
        except FieldUnusable as error:
            return self._form(request, visit, 422, {"new": str(error)})
        security.info("password changed", user=visit.user.id)
        sessions = self._site.sessions
        token = await sessions.begin(visit.user.id)
        session = await sessions.find(token)
        if session is not None:
            await sessions.tell(session, CHANGED)
        answer = away(request, HOME)
        self._site.set_cookie(answer, self._site.cookie, token)
        return answer

    def _form(
        self,
        request: Request,
        visit: Visit,
        status: int = 200,
        errors: Mapping[str, str] | None = None,
    ) -> Response:
        return self._site.page(
            request,
            "password.html",
            visit,
            status=status,
            errors=errors or {},
            shortest=PASSWORD_MINIMUM,
            longest=PASSWORD_MAXIMUM,
        )
