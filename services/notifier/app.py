"""The notifier, wired."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.resources import files

from starlette.applications import Starlette

from services.notifier.deliveries import Deliveries
from services.notifier.expiries import Expiries
from services.notifier.first_uses import FirstUses
from services.notifier.in_force import InForce
from services.notifier.intake import Intake, Recorder
from services.notifier.openapi import openapi_route
from services.notifier.outgoing import Outgoing
from services.notifier.preview import Preview
from services.notifier.readings import NotifierReadings
from services.notifier.recipients import Recipients
from services.notifier.reminders import Reminders
from services.notifier.rest import NotificationsApi, api_routes
from services.notifier.sender import Senders
from services.notifier.smtp_access import access_of, unread
from services.notifier.undecodable import UndecodableEvents
from shared.config import Settings, load
from shared.database_check import DatabaseCheck
from shared.feed_client import FeedClient
from shared.garbage import settle
from shared.health import Check, NotReady
from shared.logs import configure, get_logger
from shared.metrics import observing
from shared.pool_readings import PoolGauges
from shared.postgres import DatabaseUrl, create_pool, migrations_in
from shared.pruning import prune_forever
from shared.resource_server import BearerVerifier, Possession
from shared.secret_source import bus_source, trouble_of
from shared.secure_headers import Service
from shared.service_credential import credential_source
from shared.setting_values import FileUnreadable
from shared.subscription import Subscription
from shared.tracing_setup import tracing_of
from shared.web import PROBLEM_HANDLERS, background, health_routes
from shared.withdrawals import Withdrawals

SCHEMA = "notifier"
MIGRATIONS = migrations_in(files("services.notifier") / "migrations")
log = get_logger(__name__)
PRUNE_ROWS, PRUNE_SECONDS = 1000, 60.0
DATABASE_SETTING = "OAUTHAPPS_NOTIFIER__DATABASE__URL"
POOL = PoolGauges(
    "oauthapps_notifier_database_connections", "oauthapps_notifier_database_connections_limit"
)


def create_app(settings: Settings) -> Starlette:
    """Return the application.

    Raises ConfigurationError, DatabaseError or CannotRender before anything is opened.
    """
    dsn = DatabaseUrl(settings.notifier.database, settings.var, setting=DATABASE_SETTING)
    bus = bus_source(settings.bus)
    credential = credential_source(settings)
    tracing = tracing_of(settings, "notifier")
    in_force = InForce(settings)
    # The senders read them for themselves; here what is missing can still be told at once.
    smtp = settings.notifier.smtp
    try:
        access_of(smtp)
    except FileUnreadable as error:
        log.warning("mail has to wait", reason=str(error))
    Outgoing(settings.notifier)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(tracing.exporting())
            pool = await create_pool(
                dsn,
                size=settings.notifier.database.pool_size,
                command_seconds=settings.notifier.database.command_timeout.total_seconds(),
            )
            stack.callback(pool.terminate)
            stack.enter_context(POOL.reading(pool))
            feed = await stack.enter_async_context(
                FeedClient(
                    settings.registry_url, credential, page_size=settings.subscription.page_size
                )
            )
            deliveries = Deliveries(pool)
            verifier = BearerVerifier(
                f"{settings.token_url}/.well-known/jwks.json",
                issuer=settings.issuer,
                audience=settings.audience,
            )
            stack.push_async_callback(verifier.aclose)
            withdrawals = Withdrawals(
                feed,
                # A token service that is cut off issues tokens for as long as it trusts its copy.
                lifetime=settings.longest_token + settings.token.max_staleness,
                max_staleness=settings.token.max_staleness,
            )
            recipients = Recipients(feed)
            stack.push_async_callback(recipients.aclose)
            senders = Senders(
                settings.notifier,
                deliveries,
                recipients,
                in_force.renderer,
                feed,
                tracing=tracing,
            )
            expiries = Expiries(pool)
            reminders = Reminders(
                pool,
                deliveries,
                expiries,
                lambda: in_force.rules,
                max_event_age=settings.notifier.max_event_age,
                message_id_domain=settings.notifier.message_id_domain,
            )
            first_uses = FirstUses(
                pool,
                deliveries,
                feed,
                lambda: in_force.rules,
                max_event_age=settings.notifier.max_event_age,
                message_id_domain=settings.notifier.message_id_domain,
                on_recorded=senders.wake,
            )
            undecodable = UndecodableEvents(pool)
            recorder = Recorder(
                deliveries,
                expiries,
                reminders,
                undecodable,
                feed,
                lambda: in_force.rules,
                max_event_age=settings.notifier.max_event_age,
                message_id_domain=settings.notifier.message_id_domain,
                on_recorded=senders.wake,
                tracing=tracing,
            )
            intake = Intake(dsn, recorder, feed, settings.subscription, bus=bus)
            database = DatabaseCheck(pool, SCHEMA, MIGRATIONS)
            checks: dict[str, Check] = {
                "database": database,
                "subscription": lambda: _check_subscription(intake),
            }
            # Deliveries wait in the database for as long as the mail server is away, and rules that
            # were good stay in force while newer ones are refused: to be unready would help nobody.
            told = {
                "secrets": lambda: trouble_of(dsn.secret, bus, credential),
                "clock": lambda: database.clock.trouble or feed.clock.trouble,
                "smtp": lambda: unread(smtp) or senders.smtp_trouble,
                "rules": lambda: in_force.trouble,
            }
            if bus is not None:
                told["bus"] = lambda: intake.bus_trouble
            api = api_routes(
                NotificationsApi(deliveries, senders.wake),
                verifier=verifier,
                possession=Possession(settings.notifier_public_url),
                withdrawals=withdrawals,
            )
            app.router.routes.extend(
                [
                    *health_routes("notifier", checks, told),
                    api,
                    openapi_route(settings),
                ]
            )
            await stack.enter_async_context(
                observing(NotifierReadings(deliveries, expiries, undecodable))
            )
            await stack.enter_async_context(
                background(
                    database.watch(),
                    intake.run(),
                    senders.run(),
                    first_uses.watch(),
                    in_force.watch(),
                    prune_forever(
                        lambda: deliveries.prune(settings.notifier.keep, PRUNE_ROWS),
                        batch=PRUNE_ROWS,
                        seconds=PRUNE_SECONDS,
                        what="deliveries",
                    ),
                    # Of its own: each process answers for tokens, and one takes events in.
                    Subscription(withdrawals, feed, settings.subscription).run(),
                )
            )
            yield

    return Service(
        settings.notifier_public_url,
        tracing=tracing,
        routes=Preview(in_force).routes,
        lifespan=lifespan,
        exception_handlers=PROBLEM_HANDLERS,
    )


def from_environment() -> Starlette:
    """Return the application of a worker process, configured by the environment alone."""
    settings = load()
    configure(settings.logs, "notifier")
    settle()
    return create_app(settings)


async def _check_subscription(intake: Intake) -> None:
    if intake.trouble is not None:
        raise NotReady(intake.trouble)
