"""The token service, wired."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from services.token.authentication import ClientAuthentication
from services.token.catch_up import CatchUp
from services.token.dpop import DpopProofs
from services.token.endpoint import Endpoint, Grant
from services.token.failures import Failures
from services.token.grant import Targets
from services.token.introspection import Introspection
from services.token.key_ring import KeyRing
from services.token.own_tokens import OwnTokens
from services.token.projection import CONFIRM_SECONDS, Projection
from services.token.projector import Projector
from services.token.readings import TokenReadings
from services.token.replays import Replays
from services.token.revocation import Revocation
from services.token.room import lack_of_room
from services.token.routes import TOKEN_PATHS, ClientCredentials, Freshness, routes
from services.token.usage import Usage
from shared.config import Settings, load
from shared.cors import allow_origins, for_origins
from shared.feed_client import FeedClient
from shared.garbage import settle
from shared.health import NotReady
from shared.logs import configure
from shared.metrics import observing
from shared.request_context import Traced, WithRequestId, traced_way
from shared.secret_source import bus_source, trouble_of
from shared.sections import Subscription
from shared.secure_headers import Service
from shared.service_credential import credential_source
from shared.short_way import SHORT_WAYS, Responder
from shared.tracing_setup import tracing_of
from shared.web import PROBLEM_HANDLERS, background, health_routes


class TokenService(Service):
    """Starlette, but for the clients' endpoints: middleware and routing cost a tenth of them."""

    def __init__(self, public_url: str, **given: Any) -> None:
        super().__init__(public_url, **given)
        self.endpoints: dict[str, ASGIApp] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        endpoint = self.endpoints.get(scope.get("path", ""))
        if endpoint is not None:
            await endpoint(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: Settings) -> Starlette:
    """Return the application. Raises ConfigurationError; nothing is open then."""
    credential = credential_source(settings)
    bus = bus_source(settings.bus)
    tracing = tracing_of(settings, "token")
    folder = settings.in_var(settings.token.projection)
    keys = KeyRing(
        settings.in_var(settings.token.private_key), settings.in_var(settings.token.public_key)
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(tracing.exporting())
            projection = Projection(
                folder,
                map_size=settings.token.projection_map_size,
                confirm_seconds=_confirm_seconds(settings),
                waits=True,
            )
            stack.callback(projection.close)
            feed = await stack.enter_async_context(
                FeedClient(
                    settings.registry_url, credential, page_size=settings.subscription.page_size
                )
            )
            catch_up = CatchUp(
                projection,
                feed,
                timeout_seconds=settings.token.catch_up_timeout.total_seconds(),
                per_second=settings.token.catch_ups_per_second,
            )
            stack.push_async_callback(catch_up.aclose)
            usage = Usage(
                feed.report_usage,
                most=settings.token.usage_entries,
                addresses=settings.token.report_addresses,
            )
            replays = Replays(folder / "replays")
            stack.callback(replays.close)
            authenticate = ClientAuthentication(
                settings,
                find=projection.client,
                catch_up=catch_up,
                require_fresh=Freshness(projection, settings).require,
                replays=replays,
                failures=Failures(settings.token.failures),
                usage=usage,
            )
            targets = Targets(settings.audience, settings.resources)
            tokens = OwnTokens(
                keys, issuer=settings.issuer, audiences=targets.names, find=projection.client
            )
            credentials = ClientCredentials(
                settings,
                keys=keys,
                authenticate=authenticate,
                targets=targets,
                proofs=DpopProofs(settings, replays, secret=credential),
                usage=usage,
            )
            grants: dict[str, Grant] = {
                **dict.fromkeys(TOKEN_PATHS, credentials),
                "/introspect": Introspection(authenticate, tokens, keys),
                "/revoke": Revocation(authenticate, tokens, feed.revoke_token, catch_up),
            }
            short_ways: dict[bytes, Responder] = {}
            for path, grant in grants.items():
                endpoint = Endpoint("token" if path in TOKEN_PATHS else path[1:], settings, grant)
                open_endpoint = for_origins(endpoint, settings.token.cors, methods=("POST",))
                service.endpoints[path] = WithRequestId(Traced(open_endpoint, tracing, route=path))
                if open_endpoint is endpoint:
                    short_ways[path.encode()] = traced_way(endpoint.answer, tracing)

            async def check_keys() -> None:
                if keys.current() is None:
                    raise NotReady(keys.trouble or "no signing keys")

            async def check_projection() -> None:
                _check_projection(projection, settings)

            checks = {"keys": check_keys, "projection": check_projection}
            projector = Projector(
                folder, projection, feed, _subscription(settings), bus=bus, tracing=tracing
            )
            await stack.enter_async_context(observing(TokenReadings(projection, keys, settings)))
            await stack.enter_async_context(
                background(
                    projector.run(),
                    usage.report_forever(settings.token.usage_interval.total_seconds()),
                )
            )
            # Told from its beginning; it makes us unready once the projection is stale.
            told = {
                "secrets": lambda: trouble_of(bus, credential),
                "subscription": projector.trouble.read,
                "replays": lambda: replays.trouble,
                "disk": lambda: lack_of_room(folder),
                "clock": projector.clock_trouble.read,
            }
            if bus is not None:
                told["bus"] = projector.bus_trouble.read
            health = health_routes("token", checks, told)
            service.router.routes.extend([*routes(settings, keys), *health])
            yield {SHORT_WAYS: short_ways}

    service = TokenService(
        settings.issuer, tracing=tracing, lifespan=lifespan, exception_handlers=PROBLEM_HANDLERS
    )
    allow_origins(service, settings.token.cors, at=("/.well-known/",), methods=("GET", "HEAD"))
    return service


def from_environment() -> Starlette:
    """Return the application of a worker process, configured by the environment alone."""
    settings = load()
    configure(settings.logs, "token")
    settle()
    return create_app(settings)


def _confirm_seconds(settings: Settings) -> float:
    """Return how often to write that nothing is new: well within the bound of staleness."""
    return min(CONFIRM_SECONDS, settings.token.max_staleness.total_seconds() / 4)


def _subscription(settings: Settings) -> Subscription:
    """Return the settings with long polls that end before silence looks like an outage."""
    longest: timedelta = settings.token.max_staleness / 4
    shortened = min(settings.subscription.long_poll, longest)
    return settings.subscription.model_copy(update={"long_poll": shortened})


def _check_projection(projection: Projection, settings: Settings) -> None:
    if projection.trouble is not None:
        raise NotReady(projection.trouble)
    staleness = projection.staleness()
    if staleness == float("inf"):
        raise NotReady("never filled: the registry has not been reached yet")
    if staleness > settings.token.max_staleness.total_seconds():
        message = f"not confirmed for {staleness:.0f} s, more than token.max_staleness"
        raise NotReady(message)
