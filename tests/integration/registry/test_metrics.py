"""What Prometheus is told of log, relay and REST API."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from services.registry import relay
from services.registry.app import create_app
from services.registry.event_store import EventStore
from shared.config import Settings
from shared.sections import Bus, Database, Registry
from shared.service_credential import load_or_create
from tests.integration.registry.api import Api
from tests.integration.registry.house import House, proxied
from tests.support.eventually import eventually
from tests.support.exposition import ours, scraped, value

EVENTS = "oauthapps_registry_relay_lag_events"
SECONDS = "oauthapps_registry_relay_lag_seconds"


@pytest.fixture(autouse=True)
def _tries_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "RETRY_LONGEST_SECONDS", 0.5)


@asynccontextmanager
async def registry(
    dsn: str, var: Path, amqp_url: str | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Run the registry's application with a bus, or without."""
    load_or_create(var / "service_credential")
    settings = Settings(
        var=var,
        registry=Registry(database=Database(url=SecretStr(dsn))),
        bus=Bus(url=None if amqp_url is None else SecretStr(amqp_url)),
    )
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http,
    ):
        yield http


async def fill(house: House, store: EventStore, count: int) -> None:
    """Append so many events."""
    await asyncio.gather(*(store.append(house.application().creation()) for _ in range(count)))


async def grow_older(house: House, by: timedelta) -> None:
    """Move what is in the log into the past: nobody waits for it here."""
    await house.pool.execute("UPDATE registry.events SET time = now() - $1::interval", by)


async def _is(http: httpx.AsyncClient, name: str, expected: float) -> bool:
    return await value(http, name) == expected


async def test_the_backlog_grows_in_events_and_seconds_while_the_broker_is_away(
    house: House, store: EventStore, tmp_path: Path, unused_tcp_port: int
) -> None:
    """Whoever is woken at night looks at these two figures first."""
    amqp_url = f"amqp://guest:guest@127.0.0.1:{unused_tcp_port}/"
    async with registry(house.dsn, tmp_path, amqp_url) as http:
        await fill(house, store, 2)
        await grow_older(house, timedelta(hours=1))
        assert await value(http, EVENTS) == 2
        first = await value(http, SECONDS)

        await fill(house, store, 3)
        second = await value(http, SECONDS)

        assert await value(http, EVENTS) == 5
        assert await value(http, "oauthapps_registry_log_position") == 5
        assert await value(http, "oauthapps_registry_relay_position") == 0
        assert await value(http, "oauthapps_registry_relay_leader") == 0
        assert first is not None
        assert second is not None
        assert 3600 <= first < second < 3700
        await eventually(lambda: _relay_is_told(http))


async def _relay_is_told(http: httpx.AsyncClient) -> bool:
    answer = await http.get("/readyz")
    assert answer.status_code == 200, "events wait in the log: no reason to be unready"
    passed = await value(http, "oauthapps_check_passed", service="registry", check="relay")
    return "cannot be reached" in answer.json()["checks"]["relay"] and passed == 0


async def test_the_lag_goes_on_rising_while_the_database_is_away_too(
    house: House, store: EventStore, tmp_path: Path, unused_tcp_port: int
) -> None:
    """A host that lost its network has both away, and its alert must not end by that."""
    await fill(house, store, 2)
    await grow_older(house, timedelta(hours=1))
    amqp_url = f"amqp://guest:guest@127.0.0.1:{unused_tcp_port}/"
    async with proxied(house) as (proxy, dsn), registry(dsn, tmp_path, amqp_url) as http:
        before = await value(http, SECONDS)
        assert before is not None
        # Gone silent first, then gone: one is waited for, the other refuses.
        proxy.hold_downstream()
        silent = await scraped(http)
        await proxy.cut()
        gone = await scraped(http)

        assert before < silent[SECONDS, ()] < gone[SECONDS, ()]
        for found in (silent, gone):
            assert ("oauthapps_registry_log_position", ()) not in found
            assert found[EVENTS, ()] == 2


async def test_what_the_broker_has_confirmed_is_behind_no_more(
    house: House, store: EventStore, tmp_path: Path, amqp_url: str
) -> None:
    """Nothing waits, so nothing has waited for any time."""
    await fill(house, store, 3)
    async with registry(house.dsn, tmp_path, amqp_url) as http:
        await eventually(partial(_is, http, "oauthapps_registry_relay_position", 3))

        assert await value(http, EVENTS) == 0
        assert await value(http, SECONDS) == 0
        assert await value(http, "oauthapps_registry_relay_leader") == 1


async def test_without_a_bus_there_is_no_lag(house: House, tmp_path: Path) -> None:
    """Nobody publishes, and nobody must be woken for it."""
    async with registry(house.dsn, tmp_path) as http:
        found = await scraped(http)

    assert (EVENTS, ()) not in found
    assert (SECONDS, ()) not in found
    assert found["oauthapps_registry_log_position", ()] == 0


async def test_what_becomes_of_commands_is_counted(api: Api) -> None:
    """How long they take is counted of those that were stored."""
    stored = partial(value, api.http, "oauthapps_registry_appends_total", outcome="stored")
    refused = partial(value, api.http, "oauthapps_registry_appends_total", outcome="refused")
    created = partial(
        value, api.http, "oauthapps_registry_events_appended_total", type="ApplicationCreated"
    )
    before = [await each() or 0 for each in (stored, refused, created)]
    seconds = "oauthapps_registry_append_duration_seconds_count"
    timed = await value(api.http, seconds) or 0

    await api.create("CI")
    assert (await api.http.post("/api/applications", json={"name": "CI"})).status_code == 409

    after = [await each() or 0 for each in (stored, refused, created)]
    assert [a - b for a, b in zip(after, before, strict=True)] == [1, 1, 1]
    assert await value(api.http, seconds) == timed + 1


async def test_requests_are_counted_by_the_address_of_the_table(api: Api) -> None:
    """By the one they were sent to there would be a series for each application."""
    route = {"route": "/api/applications/{id}", "method": "GET"}
    requests = partial(value, api.http, "oauthapps_registry_http_requests_total", **route)
    before = [await requests(status=one) or 0 for one in ("2xx", "4xx")]
    id_ = (await api.create())["id"]

    await api.http.get(f"/api/applications/{id_}")
    await api.http.head(f"/api/applications/{id_}")
    await api.http.get(f"/api/applications/{uuid.uuid4()}")

    after = [await requests(status=one) or 0 for one in ("2xx", "4xx")]
    assert [a - b for a, b in zip(after, before, strict=True)] == [2, 1]
    timed = "oauthapps_registry_http_request_duration_seconds_count"
    assert await value(api.http, timed, **route) == sum(after)


async def test_odd_requests_make_no_new_series(api: Api) -> None:
    """Every series costs memory at whoever stores it; a stranger must not make any."""

    async def be_odd() -> None:
        odd = uuid.uuid4().hex
        known = [f"/api/applications/{odd}", "/api/applications", "/api/events", "/login"]
        for path in (f"/{odd}", f"/api/{odd}", *known, f"/internal/{odd}", f"/schemas/{odd}.json"):
            for method in ("GET", "POST", "DELETE", f"X{odd[:6].upper()}"):
                for headers in ({}, {"Authorization": f"Bearer {odd}"}):
                    await api.http.request(
                        method, path, headers=headers, params={odd: odd}, json={odd: odd}
                    )
        await api.http.post("/login", data={"email": f"{odd}@example.com", "password": odd})

    await be_odd()
    before = await ours(api.http)
    for _ in range(3):
        await be_odd()

    assert await ours(api.http) == before


async def test_the_connections_to_the_database_are_told(api: Api) -> None:
    """When all are in use, requests wait for one."""
    name = "oauthapps_registry_database_connections"
    await api.create()
    used, idle = [await value(api.http, name, state=state) for state in ("used", "idle")]

    assert used is not None
    assert idle is not None
    assert used + idle >= 1
    assert await value(api.http, f"{name}_limit") == 8
