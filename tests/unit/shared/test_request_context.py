"""What is known of a request while it is answered."""

import asyncio
from collections.abc import Mapping

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared import request_ids
from shared.problem import Problem
from shared.request_context import traced_way
from shared.secure_headers import Service
from shared.short_way import Answer
from shared.tracing import OFF, part
from shared.web import PROBLEM_HANDLERS
from tests.unit.shared.told import ToldTracing

PLACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OURS = "Bearer ours"


async def show(_request: Request) -> Response:
    """Answer with the id, from a part of it."""
    with part("look up"):
        return Response(request_ids.current())


async def fail(_request: Request) -> Response:
    """Do what no handler should."""
    raise RuntimeError


async def refuse(_request: Request) -> Response:
    """Refuse."""
    raise Problem(409, "It is taken.")


async def get(
    path: str, tracing: ToldTracing, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """Ask a service."""
    service = Service(
        "http://x",
        tracing=tracing,
        is_ours=lambda authorization: authorization == OURS,
        routes=[
            Route("/things/{id}", show),
            Route("/internal/{id}", show),
            Route("/livez", show),
            Route("/fail", fail),
            Route("/refuse", refuse),
        ],
        exception_handlers=PROBLEM_HANDLERS,
    )
    transport = httpx.ASGITransport(service, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        return await http.get(path, headers=headers)


async def test_a_request_is_told_by_the_address_of_the_table() -> None:
    """What callers put in its place is theirs, and may be anything."""
    tracing = ToldTracing()
    answer = await get("/things/bob@example.com", tracing, {"traceparent": PLACE})
    request, look_up = tracing.told

    assert request.name == "GET /things/{id}"
    assert str(request.parent) == PLACE
    assert look_up.parent == request.place
    assert request.attributes == {
        "http.request.method": "GET",
        "http.route": "/things/{id}",
        "http.response.status_code": 200,
        "oauthapps.request_id": answer.headers["X-Request-Id"],
    }


@pytest.mark.parametrize(
    ("path", "name", "status", "error"),
    [
        ("/nothing/secret", "GET", 404, None),
        ("/refuse", "GET /refuse", 409, None),
        ("/fail", "GET /fail", 500, "RuntimeError"),
    ],
)
async def test_what_is_no_fault_of_ours_is_no_error(
    path: str, name: str, status: int, error: str | None
) -> None:
    """Else whoever asks nonsense would look like an outage."""
    tracing = ToldTracing()
    answer = await get(path, tracing)
    (request,) = tracing.told

    assert (name, error) == (request.name, request.error)
    assert status == answer.status_code == request.attributes["http.response.status_code"]
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/livez", {"traceparent": PLACE}),
        ("/internal/1", {"traceparent": PLACE}),
        ("/internal/1", {"traceparent": PLACE, "Authorization": "Bearer guessed"}),
        ("/internal/1", {"Authorization": OURS}),
        ("/internal/1", {"Authorization": OURS, "traceparent": PLACE[:-1] + "0"}),
    ],
)
async def test_what_services_ask_each_other_begins_no_trace(
    path: str, headers: dict[str, str]
) -> None:
    """They ask all the time; and a stranger there is refused, and nothing else."""
    tracing = ToldTracing()
    answer = await get(path, tracing, headers)

    assert answer.status_code == 200
    assert tracing.told == []


async def test_one_of_ours_goes_on_with_its_trace() -> None:
    """Whatever share of strangers is told of."""
    tracing = ToldTracing(ratio=0)
    await get("/internal/1", tracing, {"Authorization": OURS, "traceparent": PLACE})

    assert str(tracing.told[0].parent) == PLACE


async def test_a_request_is_no_part_of_the_one_before_it() -> None:
    """The server begins one that was sent ahead within the answer to the one before it."""
    tracing = ToldTracing()
    with tracing.request("GET /before", None, {}):
        for path in ("/livez", "/internal/1"):
            await asyncio.create_task(get(path, tracing))

    assert [one.name for one in tracing.told] == ["GET /before"]


async def test_of_two_places_neither_is_heeded() -> None:
    """One of them is not the caller's."""
    tracing = ToldTracing()
    answered = traced_way(answer_shortly, tracing)
    header = (b"traceparent", PLACE.encode())
    await answered("/token", [header, header], "", b"")

    assert [one.parent for one in tracing.told] == [None]


async def answer_shortly(path: str, headers: object, address: str, body: bytes) -> Answer:
    """Answer what came whole."""
    return 503, (), b""


async def test_the_short_way_is_told_as_well() -> None:
    """Off, it is as if there were nothing."""
    tracing = ToldTracing()
    await traced_way(answer_shortly, tracing)("/token", (), "", b"")
    (request,) = tracing.told

    assert (request.name, request.error) == ("POST /token", "503")
    assert traced_way(answer_shortly, OFF) is answer_shortly


async def test_a_caller_s_id_is_answered() -> None:
    """And is in force while the request is answered."""
    answer = await get("/things/1", ToldTracing(), {"X-Request-Id": "r-1"})

    assert answer.headers.get_list("X-Request-Id") == ["r-1"]
    assert answer.text == "r-1"
    assert request_ids.current() is None


async def test_a_failure_is_logged_with_the_id() -> None:
    """By the server, too, which is told of it when the application has ended."""
    await get("/fail", ToldTracing(), {"X-Request-Id": "r-1"})

    assert request_ids.current() == "r-1"
    request_ids.end()
