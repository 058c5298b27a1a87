"""*My User* and *System > OAuth Applications*."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.registry.creation import Forbidden
from services.registry.pages.additions import SYSTEM
from services.registry.pages.grids import Grids
from services.registry.pages.login import Passwords
from services.registry.pages.site import HOME, Site
from services.registry.pages.visits import Visit


class Listings:
    """The two pages with a grid."""

    def __init__(self, site: Site, grids: Grids, passwords: Passwords) -> None:
        self._site = site
        self._grids = grids
        self._passwords = passwords

    @property
    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return [self._site.route(HOME, self.own), self._site.route(SYSTEM, self.everyones)]

    async def own(self, request: Request, visit: Visit) -> Response:
        """Show the user and their applications."""
        grid = await self._grids.own(request, visit)
        return self._site.page(
            request,
            "my_user.html",
            visit,
            grid=grid,
            add="/my-user/applications/new",
            has_password=await self._passwords.has_one(visit.user.id),
        )

    async def everyones(self, request: Request, visit: Visit) -> Response:
        """Show the applications of everybody whom an administrator is over."""
        if not visit.user.administrator:
            raise Forbidden("Only an administrator may see this page.")
        grid = await self._grids.everyones(request, visit)
        return self._site.page(request, "system.html", visit, grid=grid, add=f"{SYSTEM}/new")
