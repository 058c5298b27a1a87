"""All pages, put together."""

from collections.abc import Sequence

from starlette.routing import Route

from services.registry.directory import Directory
from services.registry.event_store import EventStore
from services.registry.lists import ApplicationLists
from services.registry.pages.additions import Additions
from services.registry.pages.application_pages import ApplicationPages
from services.registry.pages.entrance import Entrance
from services.registry.pages.grids import Grids
from services.registry.pages.listings import Listings
from services.registry.pages.login import Passwords
from services.registry.pages.site import Site
from services.registry.usage import UsageRecords
from services.registry.views import ApplicationViews
from shared.config import Settings
from shared.postgres import Pool


def page_routes(
    site: Site,
    settings: Settings,
    pool: Pool,
    *,
    store: EventStore,
    views: ApplicationViews,
    directory: Directory,
    usage: UsageRecords,
) -> Sequence[Route]:
    """Return the routes of the back office."""
    passwords = Passwords(pool, settings.registry.logins)
    entrance = Entrance(site, passwords, body_limit=settings.registry.max_body)
    additions = Additions(site, settings, store=store, views=views, directory=directory)
    applications = ApplicationPages(
        site,
        settings,
        additions,
        store=store,
        views=views,
        directory=directory,
        usage=usage,
    )
    listings = Listings(site, Grids(ApplicationLists(pool), directory))
    return [
        Route("/static/{version}/{name}", site.asset, methods=["GET"]),
        *entrance.routes,
        *listings.routes,
        *additions.routes,
        *applications.routes,
    ]
