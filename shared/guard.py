"""All that an API needs to take our access tokens and to hear when they end, in one piece."""

from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Self

from starlette.types import ASGIApp

from shared.bus import follow_public
from shared.public_feed import PublicFeed
from shared.resource_server import BearerVerifier, Possession, ResourceServer
from shared.sections import Subscription as Settings
from shared.subscription import Inbox, Subscription
from shared.web import background
from shared.withdrawals import WhenStale, Withdrawals

# So long an API waits at its start until it knows what was withdrawn; then it goes by its policy.
START_SECONDS = 5.0
# Twice the default of `token.lifetime` and of `token.max_staleness`; see `Withdrawals`.
LIFETIME = timedelta(hours=2)
MAX_STALENESS = timedelta(minutes=5)


class Guard:
    """Judges the access tokens of one API; entered, it is kept up to date.

    `tokens` and `registry` are the addresses of token service and registry, `audience` what stands
    in `aud` of the tokens. The client is the API's own, with the scope `events:read`. With
    `amqp_url` withdrawals come over RabbitMQ, and by the registry's feed when that is away; without
    it by the feed alone. For the others see `Withdrawals`.
    """

    def __init__(
        self,
        *,
        tokens: str,
        registry: str,
        audience: str,
        client_id: str,
        client_secret: str,
        issuer: str | None = None,
        amqp_url: str | None = None,
        lifetime: timedelta = LIFETIME,
        max_staleness: timedelta = MAX_STALENESS,
        when_stale: WhenStale = "refuse",
    ) -> None:
        self._verifier = BearerVerifier(
            f"{tokens}/.well-known/jwks.json", issuer=issuer or tokens, audience=audience
        )
        self._feed = PublicFeed(
            registry,
            token_url=f"{tokens}/oauth2-token",
            client_id=client_id,
            client_secret=client_secret,
        )
        self._withdrawals = Withdrawals(
            self._feed, lifetime=lifetime, max_staleness=max_staleness, when_stale=when_stale
        )
        self._amqp_url = amqp_url
        # Asked often enough that a log in which nothing happens is no silence.
        often = max_staleness / 3
        usual = Settings()
        self._settings = Settings(
            long_poll=min(usual.long_poll, often), head_check=min(usual.head_check, often)
        )
        self._stack = AsyncExitStack()

    def around(
        self,
        app: ASGIApp,
        *,
        url: str,
        scope_of: Callable[[str, str], str | None] = lambda _method, _path: None,
        public: Collection[str] = (),
    ) -> ResourceServer:
        """Return an API behind this guard; `url` is where clients reach it.

        See `ResourceServer`.
        """
        return ResourceServer(
            app,
            verifier=self._verifier,
            possession=Possession(url),
            scope_of=scope_of,
            withdrawals=self._withdrawals,
            public=public,
        )

    async def __aenter__(self) -> Self:
        """Begin to follow withdrawals."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._verifier.aclose)
            stack.push_async_callback(self._feed.aclose)
            inbox = None if self._amqp_url is None else Inbox()
            following = Subscription(self._withdrawals, self._feed, self._settings, inbox=inbox)
            jobs: list[Awaitable[None]] = [following.run()]
            if self._amqp_url is not None and inbox is not None:
                jobs.append(follow_public(self._amqp_url, inbox))
            await stack.enter_async_context(background(*jobs))
            await self._withdrawals.known(START_SECONDS)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it, and close all connections."""
        await self._stack.aclose()
