"""The public feed as Server-Sent Events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from services.registry import event_stream
from services.registry.event_stream import EventStreams, Place
from services.registry.feed import Feed, Wakeup
from tests.integration.registry.api import Api, problem, served


@pytest_asyncio.fixture(name="api")
async def _api(api: Api) -> AsyncIterator[Api]:
    """A registry behind a real server: streams arrive as they are sent."""
    async with (
        served(api) as url,
        httpx.AsyncClient(base_url=url, headers=api.http.headers, timeout=20) as http,
    ):
        yield replace(api, http=http)


STREAM = {"Accept": "text/event-stream"}


@asynccontextmanager
async def events(
    api: Api, *, last: str = "", headers: dict[str, str] | None = None
) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    """Open a stream and read its events, as an EventSource does."""
    async with api.http.stream(
        "GET", "/api/events", headers={**STREAM, "Last-Event-ID": last, **(headers or {})}
    ) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _parsed(answer)


async def _parsed(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    event: dict[str, str] = {}
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if line == "" and "data" in event:
            yield event
            event = {}
        elif name:
            event[name] = value


async def taken(stream: AsyncIterator[dict[str, str]], count: int) -> list[dict[str, Any]]:
    """Return the next events, each with its data."""
    async with asyncio.timeout(20):
        found = [await anext(stream) for _ in range(count)]
    return [{**one, "data": json.loads(one["data"])} for one in found]


async def test_a_stream_says_what_was_and_what_comes(api: Api) -> None:
    """Without another request."""
    async with events(api) as stream:
        (first,) = await taken(stream, 1)
        await api.create("CI")
        (second,) = await taken(stream, 1)

    assert first["event"] == "oauthapps.ApplicationCreated.v1"
    assert first["id"] == f"{first['data']['logepoch']}:1"
    assert (second["data"]["sequence"], second["data"]["data"]["name"]) == (2, "CI")


async def test_a_stream_goes_on_behind_the_last_event(api: Api) -> None:
    """What an EventSource sends when it comes again wins over the address it came by."""
    await api.create("CI")
    async with events(api) as stream:
        first, _ = await taken(stream, 2)
    async with events(api, last=first["id"]) as stream:
        (second,) = await taken(stream, 1)

    assert second["data"]["sequence"] == 2


@pytest.mark.parametrize("given", ["x", "1", ":1", "00000000-0000-4000-8000-000000000000:-1"])
async def test_a_last_event_that_is_none_is_refused(api: Api, given: str) -> None:
    """Beginning anywhere else would leave something out."""
    problem(await api.http.get("/api/events", headers={**STREAM, "Last-Event-ID": given}), 400)


async def test_another_history_is_told(api: Api) -> None:
    """A restored log gives positions out again, to other events."""
    async with events(api) as stream:
        (first,) = await taken(stream, 1)
    ahead = first["id"][:-1] + "9"
    problem(await api.http.get("/api/events", headers={**STREAM, "Last-Event-ID": ahead}), 409)

    async with api.house.store() as store:
        await store.begin_epoch()

    problem(
        await api.http.get("/api/events", headers={**STREAM, "Last-Event-ID": first["id"]}), 409
    )


async def test_a_stream_ends_with_its_application(api: Api) -> None:
    """A permission that was withdrawn ends what it has opened."""
    application_id, client_id = await api.application_of(api.house.owner)
    async with events(api, headers=api.headers(client_id)) as stream:
        await taken(stream, 2)
        await api.http.post(f"/api/applications/{application_id}/deactivate")
        async with asyncio.timeout(20):
            assert [one async for one in stream] == []


async def test_streams_are_bounded_and_given_back(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client must not take all that a process has."""
    monkeypatch.setattr(event_stream, "STREAMS", 1)
    async with events(api) as stream:
        await taken(stream, 1)
        problem(await api.http.get("/api/events", headers=STREAM), 503)

    async def is_free() -> bool:
        async with api.http.stream("GET", "/api/events", headers=STREAM) as answer:
            return answer.status_code == 200

    async with asyncio.timeout(20):
        while not await is_free():
            await api.create(str(asyncio.get_running_loop().time()))


async def test_streams_that_are_opened_at_once_are_bounded_too(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them saw a free place."""
    monkeypatch.setattr(event_stream, "STREAMS", 1)
    feed = Feed(api.house.pool, Wakeup(), asyncio.Event())
    streams = EventStreams(feed, source="x", stopping=asyncio.Event())
    opened = [await streams.open(Place(0), _anybody) for _ in range(3)]
    first = await anext(opened[0])

    assert first.startswith(b"retry:")
    assert [[part async for part in one] for one in opened[1:]] == [[], []]


async def _anybody() -> None:
    """Let everybody read on."""


async def test_a_stream_needs_the_scope(api: Api) -> None:
    """As the feed does."""
    headers = {**STREAM, **api.headers(api.client_id, "applications:read")}

    problem(await api.http.get("/api/events", headers=headers), 403)
