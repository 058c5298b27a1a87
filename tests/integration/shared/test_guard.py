"""An API behind a `Guard`, beside a token service and a registry that say what a test wants."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from shared import guard as guarding
from shared.bus import open_publisher
from shared.config import Settings
from shared.envelope import encode_json, to_cloudevent
from shared.guard import Guard
from tests.integration.registry.api import Issuer
from tests.integration.shared.told_feed import ToldFeed
from tests.integration.token.house import serving
from tests.support.eventually import eventually
from tests.unit.token.factories import Application

API = "https://orders.example"
TOKENS = (Path(__file__).parents[3] / "docs" / "tokens.md").read_text(encoding="utf-8")
CLIENT, SECRET = "feed-reader", "its secret"


class Sources:
    """Token service and registry, as far as an API needs them."""

    def __init__(self) -> None:
        self.settings = Settings(var=Path("unused"))
        self.issuer = Issuer(self.settings)
        self.log = ToldFeed()
        self.asked = 0
        self.lends = True
        # Of the feed, so that nothing can come but over the bus.
        self.held = asyncio.Event()
        self.held.set()
        self.app = Starlette(
            routes=[
                *self.issuer.app.routes,
                Route("/oauth2-token", self._token, methods=["POST"]),
                Route("/api/events", self._events),
            ]
        )

    async def _token(self, request: Request) -> Response:
        assert parse_qs(await request.body())[b"scope"] == [b"events:read"]
        assert request.headers["authorization"] == httpx.BasicAuth(CLIENT, SECRET)._auth_header
        if not self.lends:
            return JSONResponse({"error": "invalid_client"}, 401)
        return JSONResponse({"access_token": "good", "expires_in": 3600})

    async def _events(self, request: Request) -> Response:
        if not self.lends or request.headers["authorization"] != "Bearer good":
            return Response(status_code=401)
        self.asked += 1
        await self.held.wait()
        after = int(request.query_params["after"])
        page = await self.log.read(after, wait=min(0.2, float(request.query_params["wait"])))
        events = [
            to_cloudevent(one, log_epoch=page.log_epoch, source="x") for one in page.envelopes
        ]
        return Response(
            encode_json(events),
            headers={"Log-Epoch": page.log_epoch, "Log-Head": str(page.head)},
        )


@dataclass
class Desk:
    """All of it, and a caller."""

    sources: Sources
    url: str

    def guard(self, **more: Any) -> Guard:
        """Return the guard of an API; enter it."""
        return Guard(
            tokens=self.url,
            registry=self.url,
            audience=self.sources.settings.audience,
            issuer=self.sources.settings.issuer,
            client_id=CLIENT,
            client_secret=SECRET,
            **more,
        )

    def token(self, application: Application) -> str:
        """Return a good token of an application."""
        return self.sources.issuer.token(application.client_id, ["orders:read"])


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    """Serve both."""
    sources = Sources()
    async with serving(sources.app) as url:
        yield Desk(sources, url)


async def orders(_request: Request) -> Response:
    """Answer."""
    return Response("orders")


@dataclass
class Caller:
    """Calls an API."""

    http: httpx.AsyncClient

    async def status(self, token: str) -> int:
        """Return how a request with the token is answered."""
        headers = {"Authorization": f"Bearer {token}"}
        return (await self.http.get("/orders", headers=headers)).status_code

    async def becomes(self, token: str, status: int, *, within: float = 10) -> None:
        """Wait until the API answers so."""

        async def is_so() -> bool:
            return await self.status(token) == status

        await eventually(is_so, within)


@asynccontextmanager
async def calling(guard: Guard) -> AsyncIterator[Caller]:
    """Put an API behind the guard and call it."""
    api = Starlette(routes=[Route("/orders", orders)])
    transport = httpx.ASGITransport(guard.around(api, url=API, scope_of=lambda *_: "orders:read"))
    async with guard, httpx.AsyncClient(transport=transport, base_url=API) as http:
        yield Caller(http)


async def test_what_was_withdrawn_before_the_start_is_known_at_the_first_request(
    desk: Desk,
) -> None:
    """A deployment must neither let it in nor refuse everybody for a moment."""
    one, other = Application(), Application()
    desk.sources.log.tell(one.deactivated())
    async with calling(desk.guard()) as caller:
        assert await caller.status(desk.token(one)) == 401
        assert await caller.status(desk.token(other)) == 200


async def test_by_the_feed_a_withdrawal_is_heard_of(desk: Desk) -> None:
    """Without a bus."""
    one = Application()
    async with calling(desk.guard()) as caller:
        assert await caller.status(desk.token(one)) == 200
        desk.sources.log.tell(one.deactivated())
        await caller.becomes(desk.token(one), 401)


async def publish(url: str, log: ToldFeed, *positions: int) -> None:
    """Publish what stands in the log there, as the relay does."""
    async with open_publisher(url, source="x", timeout_seconds=10) as publisher:
        for position in positions:
            await publisher.publish(log.envelopes[position - 1], log.epoch)


async def hear_by_the_bus(caller: Caller, desk: Desk, amqp_url: str) -> None:
    """Return once the API has refused a token by what the bus alone can have told."""
    log, held = desk.sources.log, desk.sources.held

    async def hears() -> bool:
        one = Application()
        token = desk.token(one)
        held.clear()
        try:
            log.tell(one.deactivated())
            await publish(amqp_url, log, len(log.envelopes))
            await caller.becomes(token, 401, within=0.5)
        except AssertionError:
            # Not connected yet, or just asking the feed.
            return False
        finally:
            held.set()
        return True

    await eventually(hears, 20)


async def test_by_the_bus_a_withdrawal_is_heard_of(desk: Desk, amqp_url: str) -> None:
    """Also while the registry does not answer."""
    await publish(amqp_url, desk.sources.log)
    async with calling(desk.guard(amqp_url=amqp_url)) as caller:
        await hear_by_the_bus(caller, desk, amqp_url)


async def test_what_the_bus_lost_is_made_good_by_the_feed(desk: Desk, amqp_url: str) -> None:
    """A gap shows by the position; a loss without a successor by the head of the feed."""
    one, other, log = Application(), Application(), desk.sources.log
    await publish(amqp_url, log)
    async with calling(desk.guard(amqp_url=amqp_url)) as caller:
        await hear_by_the_bus(caller, desk, amqp_url)
        log.tell(one.deactivated())
        log.tell(Application().deactivated())
        await publish(amqp_url, log, len(log.envelopes))
        await caller.becomes(desk.token(one), 401)
        log.tell(other.deactivated())
        await caller.becomes(desk.token(other), 401)


async def test_a_broker_that_is_away_leaves_the_feed(desk: Desk) -> None:
    """Refused connections cost nothing but the milliseconds."""
    one = Application()
    nowhere = "amqp://guest:guest@127.0.0.1:1/"
    async with calling(desk.guard(amqp_url=nowhere)) as caller:
        desk.sources.log.tell(one.deactivated())
        await caller.becomes(desk.token(one), 401)


@pytest.mark.parametrize(("when_stale", "status"), [("refuse", 503), ("accept", 200)])
async def test_a_guard_whose_own_client_was_revoked_goes_by_its_policy(
    desk: Desk, when_stale: Any, status: int
) -> None:
    """And the log says whose client it is, since every token of others looks guilty first."""
    one = Application()
    guard = desk.guard(max_staleness=timedelta(seconds=1), when_stale=when_stale)
    with capture_logs() as logged:
        async with calling(guard) as caller:
            assert await caller.status(desk.token(one)) == 200
            desk.sources.lends = False
            await eventually(lambda: any("the feed's own client" in str(line) for line in logged))

            async def is_stale() -> bool:
                await caller.status(desk.token(one))
                return any("no news" in line["event"] for line in logged)

            await eventually(is_stale)
            assert await caller.status(desk.token(one)) == status
            desk.sources.lends = True
            await caller.becomes(desk.token(one), 200)
            desk.sources.log.tell(one.deactivated())
            await caller.becomes(desk.token(one), 401)


async def test_a_registry_that_is_away_does_not_keep_an_api_from_starting(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes by its policy from its first request on, and comes around by itself."""
    monkeypatch.setattr(guarding, "START_SECONDS", 0.1)
    desk.sources.lends = False
    async with calling(desk.guard()) as caller:
        assert await caller.status(desk.token(Application())) == 503
        desk.sources.lends = True
        await caller.becomes(desk.token(Application()), 200)


async def test_a_log_in_which_nothing_happens_is_no_silence(desk: Desk) -> None:
    """However little silence is borne, the registry is asked more often."""
    guard = desk.guard(max_staleness=timedelta(milliseconds=900))
    async with calling(guard) as caller:
        begun = desk.sources.asked
        # Eight of them take twice the silence that is borne.
        await eventually(lambda: desk.sources.asked >= begun + 8, 30)
        await caller.becomes(desk.token(Application()), 200)


async def test_a_guard_that_is_left_leaves_nothing_running(desk: Desk) -> None:
    """Neither tasks nor a queue."""
    before = asyncio.all_tasks()
    async with calling(desk.guard(amqp_url="amqp://guest:guest@127.0.0.1:1/")):
        assert asyncio.all_tasks() > before

    await eventually(lambda: _those_of_guards(asyncio.all_tasks() - before) == [])


def _those_of_guards(tasks: set["asyncio.Task[Any]"]) -> list[str]:
    """Return the tasks that are no requests at the server."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in tasks]
    return [name for name in names if "RequestResponseCycle" not in name]


async def test_the_ten_lines_of_the_documents_do_it(desk: Desk) -> None:
    """As they stand there."""
    blocks = re.findall(r"```python\n(.*?)```", TOKENS, re.DOTALL)
    (snippet,) = (one for one in blocks if "Guard(" in one)
    names: dict[str, Any] = {
        "TOKENS": desk.url,
        "REGISTRY": desk.url,
        "API": API,
        "ID": CLIENT,
        "SECRET": SECRET,
        "Guard": Guard,
        "Starlette": Starlette,
        "asynccontextmanager": asynccontextmanager,
        "routes": [Route("/orders", orders)],
    }
    exec(snippet, names)  # noqa: S102 - it is ours
    one, other = Application(), Application()
    desk.sources.log.tell(one.deactivated())
    transport = httpx.ASGITransport(names["app"])
    async with (
        names["api"].router.lifespan_context(names["api"]),
        httpx.AsyncClient(transport=transport, base_url=API) as http,
    ):
        for application, status in ((one, 401), (other, 200)):
            token = desk.sources.issuer.token(
                application.client_id, ["orders:read"], iss=desk.url, aud=API
            )
            assert await Caller(http).status(token) == status
