"""All pages, put together."""

from collections.abc import Sequence

from starlette.routing import Route

from services.registry.directory import Directory
from services.registry.directory_changes import DirectoryChanges
from services.registry.event_store import EventStore
from services.registry.lists import ApplicationLists
from services.registry.pages.additions import Additions
from services.registry.pages.application_pages import ApplicationPages
from services.registry.pages.entrance import Entrance
from services.registry.pages.grids import Grids
from services.registry.pages.listings import Listings
from services.registry.pages.login import Passwords
from services.registry.pages.password_page import PasswordPage
from services.registry.pages.people import People
from services.registry.pages.provider import Provider
from services.registry.pages.sign_in import CALLBACK, SignInPages
from services.registry.pages.site import Site
from services.registry.usage import UsageRecords
from services.registry.views import ApplicationViews
from shared.config import Settings
from shared.postgres import Pool
from shared.setting_values import ConfigurationError


def provider_of(settings: Settings) -> Provider | None:
    """Return the identity provider, if there is one. Raises ConfigurationError."""
    sign_in = settings.registry.sign_in
    if sign_in.issuer is None:
        if not sign_in.passwords:
            message = (
                "nobody could log in: set registry.sign_in.issuer, or let "
                "registry.sign_in.passwords be true"
            )
            raise ConfigurationError(message)
        return None
    return Provider(sign_in, f"{settings.public_url.rstrip('/')}{CALLBACK}")


def page_routes(
    site: Site,
    settings: Settings,
    pool: Pool,
    *,
    store: EventStore,
    views: ApplicationViews,
    directory: Directory,
    usage: UsageRecords,
    provider: Provider | None,
) -> Sequence[Route]:
    """Return the routes of the back office."""
    passwords = Passwords(pool, settings.registry.logins)
    sign_in = settings.registry.sign_in
    entrance = Entrance(site, passwords, sign_in, body_limit=settings.registry.max_body)
    changes = DirectoryChanges(pool)
    people = People(sign_in, directory=directory, changes=changes)
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
    listings = Listings(site, Grids(ApplicationLists(pool), directory), passwords)

    return [
        Route("/static/{version}/{name}", site.asset, methods=["GET"]),
        *entrance.routes,
        *(SignInPages(site, provider, people).routes if provider else ()),
        *(PasswordPage(site, passwords, changes).routes if sign_in.passwords else ()),
        *listings.routes,
        *additions.routes,
        *applications.routes,
    ]
