"""The client of the registry's internal interface, and registries that misbehave."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.envelope import UndecodableEvent
from shared.feed_client import FeedClient, RegistryRefused, RegistryUnavailable
from tests.integration.token.house import serving
from tests.support.ports import free_port

HEAD = '{"log_epoch":"e","position":1}'
RECORD = json.dumps(
    {
        "client_id": "c",
        "application_id": "a",
        "organization_id": "o",
        "owner_id": "u",
        "active": True,
        "scopes": [],
        "secrets": [],
    }
)
END = '{"end":true}'


class Registry:
    """Answers everything with the same."""

    def __init__(self) -> None:
        self.status = 200
        self.body = ""

    async def answer(self, _request: Request) -> Response:
        """Answer."""
        return Response(self.body, self.status)


@pytest.fixture
def registry() -> Registry:
    """A registry that can be told what to say."""
    return Registry()


@pytest_asyncio.fixture
async def client(registry: Registry) -> AsyncIterator[FeedClient]:
    """A client of it."""
    app = Starlette(routes=[Route("/{path:path}", registry.answer)])
    async with serving(app) as url, FeedClient(url, "credential") as client:
        yield client


async def read_snapshot(client: FeedClient) -> int:
    """Read it to its end; return how many records it has."""
    async with client.snapshot() as (_, records):
        return len([one async for one in records])


async def ask_everything(client: FeedClient) -> list[Exception]:
    """Call every method; return what each raised."""
    raised: list[Exception] = []
    calls: tuple[Any, ...] = (lambda: client.read(0), client.head, lambda: read_snapshot(client))
    for call in calls:
        try:
            await call()
        except Exception as error:  # noqa: BLE001 - looked at by the caller
            raised.append(error)
    assert len(raised) == len(calls)
    return raised


@pytest.mark.parametrize("status", [500, 503, 302, 404])
async def test_an_answer_that_is_none_is_a_transient_failure(
    client: FeedClient, registry: Registry, status: int
) -> None:
    """A registry that starts, stops or is replaced."""
    registry.status = status

    assert {True} == {isinstance(one, RegistryUnavailable) for one in await ask_everything(client)}


@pytest.mark.parametrize("status", [401, 403])
async def test_a_credential_that_is_not_accepted_is_said_to_be_it(
    client: FeedClient, registry: Registry, status: int
) -> None:
    """Whatever is asked for."""
    registry.status = status

    assert {RegistryRefused} == {type(one) for one in await ask_everything(client)}


@pytest.mark.parametrize("body", ["", "<html>", "{}", "[]", '{"log_epoch": 7, "head": "x"}'])
async def test_an_answer_of_somebody_else_is_a_known_failure(
    client: FeedClient, registry: Registry, body: str
) -> None:
    """A proxy in between says 200 and a page."""
    registry.body = body

    kinds = {type(one) for one in await ask_everything(client)}
    assert kinds <= {RegistryUnavailable, UndecodableEvent}


async def test_a_registry_that_is_away_is_a_transient_failure() -> None:
    """Nothing listens."""
    async with FeedClient(f"http://127.0.0.1:{free_port()}", "credential") as client:
        raised = [*await ask_everything(client)]
    assert {RegistryUnavailable} == {type(one) for one in raised}


async def test_a_whole_snapshot_is_read(client: FeedClient, registry: Registry) -> None:
    """Head, records, end."""
    registry.body = f"{HEAD}\n{RECORD}\n{END}\n"

    async with client.snapshot() as (head, records):
        assert (head.log_epoch, head.position) == ("e", 1)
        assert [one.client_id async for one in records] == ["c"]


@pytest.mark.parametrize(
    "body",
    [
        f"{HEAD}\n{RECORD}\n",
        f"{HEAD}\n{RECORD}\n{RECORD[:30]}",
        HEAD + "\n" + '{"client_id": 7}' + "\n" + END,
        HEAD + "\n",
        HEAD[:10],
    ],
)
async def test_a_snapshot_that_broke_off_is_not_a_smaller_one(
    client: FeedClient, registry: Registry, body: str
) -> None:
    """A projection of the half of all clients would refuse the other half."""
    registry.body = body

    with pytest.raises(RegistryUnavailable):
        await read_snapshot(client)
