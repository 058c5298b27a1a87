"""The token service served for real, beside a registry that tells what a test wants it to tell."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.token.app import create_app
from services.token.keys import Algorithm, generate
from shared.config import Settings
from shared.envelope import Envelope, encode_internal
from shared.events import NO_PRIVATE_DATA, Event, PrivateData, TokensRevoked, subject_of
from shared.revocation import TokenRevocation
from shared.sections import Bus, FailureLimits, Registry, Resource, Subscription, Token
from shared.server import Server, bind
from shared.service_credential import is_presented, load_or_create
from shared.trust import trusted
from shared.usage import UsageReport
from shared.web import json_response
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.readiness import is_ready
from tests.unit.token.factories import Application, envelope, fold

SNAPSHOT_END = b'{"end":true}\n'


@asynccontextmanager
async def serving(app: Starlette, port: int = 0) -> AsyncIterator[str]:
    """Serve an application in this event loop; yield its URL."""
    listener = bind("127.0.0.1", port, option="--port")
    server = Server(app)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await eventually(lambda: server.started or task.done())
        assert server.started
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.stop()
        await task


class ToldRegistry:
    """`/internal/…` over a list of envelopes; what it is asked is counted."""

    def __init__(self, credential: str) -> None:
        self._credential = credential
        self._news = asyncio.Condition()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_epoch = str(uuid.uuid4())
        self.envelopes: list[Envelope] = []
        self.asked: dict[str, int] = {}
        self.reports: list[UsageReport] = []
        # Of the feed, so that a test can look at what happens before the events arrive.
        self.held = asyncio.Event()
        self.held.set()
        # Set while somebody waits for news of this history.
        self.polled = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/internal/feed", self._feed),
                Route("/internal/feed/head", self._head),
                Route("/internal/snapshot", self._snapshot),
                Route("/internal/usage", self._usage, methods=["POST"]),
                Route("/internal/revocations", self._revocation, methods=["POST"]),
            ]
        )
        self.app.state.stopping = asyncio.Event()

    async def tell(self, *told: tuple[Event, PrivateData]) -> None:
        """Append to the log."""
        async with self._news:
            for one in told:
                self.envelopes.append(envelope(len(self.envelopes) + 1, one))
            self._news.notify_all()

    async def restore(self, *told: tuple[Event, PrivateData]) -> None:
        """Become another history."""
        # A poll that begins after it, from the same position, would wait until its end.
        await self.polled.wait()
        self.log_epoch = str(uuid.uuid4())
        self.envelopes = []
        await self.tell(*told)

    def serving(self) -> AbstractAsyncContextManager[str]:
        """Serve at `url`, each time again."""
        self.app.state.stopping.clear()
        return serving(self.app, self.port)

    def _count(self, request: Request, what: str) -> None:
        assert is_presented(self._credential, request.headers.get("authorization"))
        self.asked[what] = self.asked.get(what, 0) + 1

    async def _feed(self, request: Request) -> Response:
        self._count(request, "feed")
        await self.held.wait()
        after = int(request.query_params["after"])
        limit = int(request.query_params["limit"])
        await self._wait_for_news(after, float(request.query_params["wait"]))
        events = b",".join(map(encode_internal, self.envelopes[after : after + limit]))
        head = len(self.envelopes)
        body = f'{{"log_epoch":"{self.log_epoch}","head":{head},"events":['.encode()
        return Response(body + events + b"]}", media_type="application/json")

    async def _wait_for_news(self, after: int, seconds: float) -> None:
        stopping: asyncio.Event = self.app.state.stopping
        waits = asyncio.get_running_loop().time() + seconds
        epoch = self.log_epoch
        if seconds:
            self.polled.set()
        while len(self.envelopes) == after and not stopping.is_set():
            if epoch != self.log_epoch:
                return
            left = waits - asyncio.get_running_loop().time()
            if left <= 0:
                return
            async with self._news:
                try:
                    await asyncio.wait_for(self._news.wait(), min(left, 0.1))
                except TimeoutError:
                    continue

    async def _head(self, request: Request) -> Response:
        self._count(request, "head")
        return json_response({"log_epoch": self.log_epoch, "position": len(self.envelopes)})

    async def _usage(self, request: Request) -> Response:
        self._count(request, "usage")
        self.reports.append(msgspec.json.decode(await request.body(), type=UsageReport))
        return json_response({"new": True})

    async def _revocation(self, request: Request) -> Response:
        self._count(request, "revocations")
        told = msgspec.json.decode(await request.body(), type=TokenRevocation)
        mine = next(
            (one for one in self.envelopes if one.event.application_id == told.application_id),
            None,
        )
        if mine is None:
            return Response(status_code=404)
        subject = subject_of(mine.event)
        event = TokensRevoked(
            **subject,
            not_before=datetime(1970, 1, 1, tzinfo=UTC),
            jti=told.jti,
            revoked_at=datetime.now(UTC),
            token_expires_at=told.expires_at,
        )
        await self.tell((event, NO_PRIVATE_DATA))
        return json_response({"revoked": True})

    async def _snapshot(self, request: Request) -> Response:
        self._count(request, "snapshot")
        head = json_response({"log_epoch": self.log_epoch, "position": len(self.envelopes)})
        lines = [bytes(head.body), *(bytes(json_response(one).body) for one in self._clients())]
        body = b"\n".join(lines) + b"\n" + SNAPSHOT_END
        return Response(body, media_type="application/x-ndjson")

    def _clients(self) -> list[Any]:
        return fold(self.envelopes)


class House:
    """A folder for state, a registry, and a token service that can be started and ended."""

    def __init__(self, var: Path) -> None:
        self.var = var
        credential = load_or_create(var / "service_credential")
        self.registry = ToldRegistry(credential)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.application = Application(scopes=("applications:read", "events:read"))

    def settings(
        self,
        *,
        amqp_url: str | None = None,
        head_check: timedelta = timedelta(seconds=1),
        **token: Any,
    ) -> Settings:
        """Return the configuration, with some of the token service's settings."""
        # A test asks for more in a minute than anybody should.
        token.setdefault(
            "failures",
            FailureLimits(per_client_and_minute=100_000, per_address_and_minute=100_000),
        )
        section = Token(port=self.port, issuer=self.url, audience="https://api.example", **token)
        resources = {
            "https://orders.example": Resource(
                scopes=("applications:read",), lifetime=timedelta(minutes=5)
            )
        }
        bus: dict[str, Any] = {} if amqp_url is None else {"url": amqp_url}
        return Settings(
            var=self.var,
            registry=Registry(internal_url=self.registry.url),
            token=section,
            resources=resources,
            bus=Bus(**bus),
            subscription=Subscription(page_size=100, head_check=head_check),
        )

    def make_keys(self, algorithm: Algorithm = "ES256") -> None:
        """Generate the signing keys."""
        generate(self.var / "oauth_private.key", self.var / "oauth_public.key", algorithm)

    @asynccontextmanager
    async def token_service(self, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        """Serve the token service; yield a client of it."""
        async with (
            serving(create_app(self.settings(**settings)), self.port),
            httpx.AsyncClient(verify=trusted(), base_url=self.url, trust_env=False) as http,
        ):
            yield http

    @asynccontextmanager
    async def ready(self, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        """Serve registry and token service with keys and one application; wait until ready."""
        self.make_keys()
        if not self.registry.envelopes:
            await self.registry.tell(self.application.created())
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.registry.serving())
            http = await stack.enter_async_context(self.token_service(**settings))
            await eventually(lambda: is_ready(http))
            yield http

    @asynccontextmanager
    async def served(self, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        """Serve registry and token service with what there is."""
        async with self.registry.serving(), self.token_service(**settings) as http:
            yield http

    def request(self, **parameters: str) -> dict[str, str]:
        """Return the form of a token request with credentials in the body."""
        return {
            "grant_type": "client_credentials",
            "client_id": self.application.client_id,
            "client_secret": self.application.secret,
            **parameters,
        }
