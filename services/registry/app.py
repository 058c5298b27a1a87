"""The registry, wired."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.registry.administrators import Administration
from services.registry.callers import Callers
from services.registry.directory import Directory
from services.registry.directory_audit import Audit
from services.registry.directory_audit_rest import DirectoryAuditApi
from services.registry.directory_changes import DirectoryChanges
from services.registry.directory_views import DirectoryViews
from services.registry.documents import document_routes
from services.registry.edge import Edge
from services.registry.event_store import EventStore
from services.registry.event_stream import EventStreams
from services.registry.events_rest import EventsApi
from services.registry.feed import Feed, Wakeup, listen
from services.registry.idempotency import Idempotency
from services.registry.internal import InternalApi
from services.registry.kept_answers import KeptAnswers
from services.registry.lists import ApplicationLists
from services.registry.log_readings import LogReadings
from services.registry.name_search import tidy
from services.registry.operations import routes_of
from services.registry.organization_names import copy_names_forever
from services.registry.organizations_rest import OrganizationsApi
from services.registry.pages.provider import Provider
from services.registry.pages.routes import page_routes, provider_of
from services.registry.pages.sessions import Sessions
from services.registry.pages.site import Site, reads_pages
from services.registry.rate_limits import CallerLimits, FailedAuthentications
from services.registry.recovery import Recovery
from services.registry.refusals import REFUSAL_HANDLERS
from services.registry.relay import Relay
from services.registry.rest import ApplicationsApi
from services.registry.schema import DATABASE_SETTING, MIGRATIONS, SCHEMA
from services.registry.switch import Switch
from services.registry.usage import UsageRecords
from services.registry.users_rest import UsersApi
from services.registry.views import ApplicationViews
from services.registry.withdrawal import watch
from shared.bus import open_publisher
from shared.clock_check import ClockCheck
from shared.config import Settings, load
from shared.cors import allow_origins
from shared.database_check import DatabaseCheck
from shared.garbage import settle
from shared.logs import configure
from shared.metrics import observing
from shared.pool_readings import PoolGauges
from shared.postgres import DatabaseUrl, create_pool
from shared.resource_server import BearerVerifier, Possession
from shared.secret_source import SecretSource, bus_source, trouble_of
from shared.secure_headers import Service
from shared.service_credential import bearers_of, credential_source
from shared.tracing import Tracing
from shared.tracing_setup import tracing_of
from shared.web import PROBLEM_HANDLERS, background, health_routes

POOL = PoolGauges(
    "oauthapps_registry_database_connections", "oauthapps_registry_database_connections_limit"
)


def create_app(settings: Settings) -> Starlette:
    """Return the application. Raises ConfigurationError, DatabaseError; nothing is open then."""
    dsn = DatabaseUrl(settings.registry.database, settings.var, setting=DATABASE_SETTING)
    bus = bus_source(settings.bus)
    credential = credential_source(settings)
    tracing = tracing_of(settings, "registry")
    provider = provider_of(settings)
    stopping = asyncio.Event()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(tracing.exporting())
            pool = await create_pool(
                dsn,
                size=settings.registry.database.pool_size,
                command_seconds=settings.registry.database.command_timeout.total_seconds(),
                # A plan for any filter is a plan for none.
                by_index=True,
            )
            stack.callback(pool.terminate)
            stack.enter_context(POOL.reading(pool))
            wakeup = Wakeup()
            store = await stack.enter_async_context(
                EventStore(
                    dsn,
                    pool,
                    batch_commands=settings.registry.batch_commands,
                    batch_delay=settings.registry.batch_delay,
                    on_append=wakeup,
                )
            )
            verifier = BearerVerifier(
                f"{settings.token_url}/.well-known/jwks.json",
                issuer=settings.issuer,
                audience=settings.audience,
            )
            stack.push_async_callback(verifier.aclose)
            directory = Directory(pool)
            views = ApplicationViews(pool)
            usage = UsageRecords(pool)
            feed = Feed(pool, wakeup, stopping)
            limits = settings.registry.rate_limits
            callers = Callers(
                verifier,
                views,
                directory,
                FailedAuthentications(limits),
                Possession(settings.public_url),
            )
            answers = KeptAnswers(pool, keep=settings.registry.idempotency_keep)
            edge = Edge(
                callers,
                limits=CallerLimits(limits),
                idempotency=Idempotency(
                    credential,
                    answers=answers,
                    recovery=Recovery(store, views),
                    body_limit=settings.registry.max_body,
                ),
            )
            applications = ApplicationsApi(
                settings,
                store=store,
                views=views,
                lists=ApplicationLists(pool),
                directory=directory,
                usage=usage,
            )
            events = EventsApi(
                feed=feed,
                streams=EventStreams(feed, source=settings.public_url, stopping=stopping),
                callers=callers,
                source=settings.public_url,
            )
            changes = DirectoryChanges(pool)
            administration = Administration(
                directory=directory,
                views=DirectoryViews(pool),
                changes=changes,
                switch=Switch(changes, store, views),
                body_limit=settings.registry.max_body,
            )
            operations = [
                *applications.operations,
                *events.operations,
                *OrganizationsApi(administration).operations,
                *UsersApi(administration).operations,
                *DirectoryAuditApi(Audit(pool)).operations,
            ]
            internal = InternalApi(
                credential, pool=pool, feed=feed, store=store, directory=directory, usage=usage
            )
            database = DatabaseCheck(pool, SCHEMA, MIGRATIONS)
            relay = None if bus is None else _relay(settings, bus, dsn, feed, tracing)
            sessions = Sessions(
                pool,
                idle=settings.registry.sessions.idle,
                longest=settings.registry.sessions.longest,
            )
            jobs = [
                database.watch(),
                listen(dsn, wakeup),
                watch(store, views),
                tidy(pool),
                copy_names_forever(pool),
                answers.prune_forever(),
                usage.prune_forever(settings.registry.usage_keep),
                sessions.prune_forever(),
                *([] if relay is None else [relay.run()]),
            ]
            app.router.routes.extend(
                [
                    *health_routes(
                        "registry",
                        {"database": database},
                        told=_told_of(database.clock, relay, provider, dsn.secret, bus, credential),
                    ),
                    *document_routes(settings, operations),
                    *routes_of(operations, edge),
                    *internal.routes,
                ]
            )
            site = app.state.site = Site(
                settings, sessions=sessions, directory=directory, verifier=verifier
            )
            app.router.routes.extend(
                page_routes(
                    site,
                    settings,
                    pool,
                    store=store,
                    views=views,
                    directory=directory,
                    usage=usage,
                    provider=provider,
                )
            )
            await stack.enter_async_context(
                observing(LogReadings(pool, has_relay=relay is not None))
            )
            await stack.enter_async_context(background(*jobs))
            try:
                yield
            finally:
                stopping.set()

    handlers = {**PROBLEM_HANDLERS, **REFUSAL_HANDLERS, HTTPException: _on_http_exception}
    app = Service(
        settings.public_url,
        tracing=tracing,
        is_ours=bearers_of(credential),
        lifespan=lifespan,
        exception_handlers=handlers,
    )
    app.state.stopping = stopping
    allow_origins(
        app,
        settings.registry.cors,
        at=("/api/", "/schemas/", "/openapi.json", "/asyncapi.json"),
        methods=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
    )
    return app


def _relay(
    settings: Settings, bus: SecretSource, dsn: DatabaseUrl, feed: Feed, tracing: Tracing
) -> Relay:
    return Relay(
        dsn,
        feed,
        lambda: open_publisher(
            bus,
            source=settings.public_url,
            timeout_seconds=settings.bus.publish_timeout.total_seconds(),
        ),
        window=settings.bus.confirm_window,
        tracing=tracing,
    )


def _told_of(
    clock: ClockCheck,
    relay: Relay | None,
    provider: Provider | None,
    *secrets: SecretSource | None,
) -> dict[str, Callable[[], str | None]]:
    """Return what makes nobody unready.

    A secret that was read is kept, and events wait in the log for as long as RabbitMQ is away.
    """
    told: dict[str, Callable[[], str | None]] = {
        "secrets": lambda: trouble_of(*secrets, None if provider is None else provider.secret),
        "clock": lambda: clock.trouble,
    }
    if relay is not None:
        told["relay"] = lambda: relay.trouble
    return told


def from_environment() -> Starlette:
    """Return the application of a worker process, configured by the environment alone."""
    settings = load()
    configure(settings.logs, "registry")
    settle()
    return create_app(settings)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    site: Site | None = getattr(request.app.state, "site", None)
    if site is not None and isinstance(error, HTTPException) and reads_pages(request):
        return await site.nothing(request, error)
    return await PROBLEM_HANDLERS[HTTPException](request, error)
