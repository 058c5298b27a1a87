"""The two addresses of a sign-in: the one that leads to the provider, and the one back."""

import base64
import binascii
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from prometheus_client import Counter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.registry.pages.people import People
from services.registry.pages.provider import Provider, SignInRefused
from services.registry.pages.site import LOGIN, Site, local, redirect
from shared import base64url
from shared.problem import Problem
from shared.security_log import security

START = "/login/sso"
CALLBACK = "/login/sso/callback"
TICKET_SECONDS = 600
SIGN_INS = Counter("oauthapps_registry_sign_ins_total", "Sign-ins by the provider", ["outcome"])


@dataclass(frozen=True, slots=True)
class SignInPages:
    """Leads to the identity provider, and lets in who comes back from it."""

    site: Site
    provider: Provider
    people: People

    @property
    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return [
            Route(START, self.start, methods=["GET"]),
            Route(CALLBACK, self.end, methods=["GET"]),
        ]

    @property
    def _cookie(self) -> str:
        return self.site.cookie.replace("session", "sign-in")

    async def start(self, request: Request) -> Response:
        """Lead to the provider, for whoever asks for it on our page or by the address itself."""
        after = local(request.query_params.get("next", ""))
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            # Another site has sent them: nobody is logged in without having wanted it.
            return redirect(f"{LOGIN}?{urlencode({'next': after})}")
        ticket = secrets.token_urlsafe(32)
        try:
            response = redirect(await self.provider.address(ticket))
        except Exception as error:  # noqa: BLE001 - a person gets a page, whatever happened
            return self.site.refusal(request, None, error)
        self.site.set_cookie(
            response, self._cookie, f"{ticket}.{_packed(after)}", seconds=TICKET_SECONDS
        )
        return response

    async def end(self, request: Request) -> Response:
        """Begin a session for who signed in."""
        ticket, _, packed = request.cookies.get(self._cookie, "").partition(".")
        try:
            if not ticket:
                raise SignInRefused("no ticket")
            person = await self.provider.person(ticket, dict(request.query_params))
            user = await self.people.user_of(person)
            await self.site.sessions.end(request.cookies.get(self.site.cookie, ""))
            token = await self.site.sessions.begin(user.id)
        except SignInRefused as refused:
            SIGN_INS.labels("refused").inc()
            security.warning("sign-in refused", reason=str(refused))
            response = self.site.refusal(request, None, _told(refused))
        except Exception as error:  # noqa: BLE001 - likewise
            return self.site.refusal(request, None, error)
        else:
            SIGN_INS.labels("accepted").inc()
            security.info("sign-in accepted", user=user.id)
            response = redirect(local(_unpacked(packed)))
            self.site.set_cookie(response, self.site.cookie, token)
        self.site.drop_cookie(response, self._cookie)
        return response


def _told(refused: SignInRefused) -> Problem:
    """Return what a person may know of the reason: enough to ask the right one."""
    detail = {
        "unknown here": "You signed in, but nobody has added you here. Ask your administrator.",
        "disabled": "You signed in, but your user is disabled here. Ask your administrator.",
        "no verified e-mail address": "Your identity provider names no verified e-mail address.",
        "access_denied": "The sign-in was cancelled.",
    }.get(str(refused), "The sign-in did not work, or took too long. Begin it once more.")
    return Problem(403, detail)


def _packed(url: str) -> str:
    return base64url.encode(url.encode()).decode()


def _unpacked(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        return ""
