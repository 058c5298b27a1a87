"""How a server ends: what is under way finishes, or is cut off, and neither is an error."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from shared.server import Server, bind
from tests.integration.token.house import serving
from tests.support.eventually import eventually


@asynccontextmanager
async def served(
    handler: Callable[[Request], Awaitable[Response]],
) -> AsyncIterator[tuple[Server, int, "asyncio.Task[None]"]]:
    """Serve one handler; yield server, port and its task, which the test may end."""
    listener = bind("127.0.0.1", 0, option="--port")
    app = Starlette(routes=[Route("/", handler)])
    app.state.stopping = asyncio.Event()
    server = Server(app)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await eventually(lambda: server.started)
    port: int = listener.getsockname()[1]
    try:
        yield server, port, task
    finally:
        server.stop()
        await task


async def test_a_stream_that_nobody_reads_ends_without_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its reader is told by the end of the connection, and comes again."""
    begun = asyncio.Event()

    async def endless(_request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            begun.set()
            while True:
                yield bytes(1_000_000)
                await asyncio.sleep(0)

        return StreamingResponse(parts())

    async with served(endless) as (server, port, task):
        with socket.create_connection(("127.0.0.1", port)) as reader:
            reader.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await begun.wait()
            server.stop()
            await task

    assert errors_in(caplog) == []


async def test_a_request_that_takes_too_long_ends_without_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is cut off, and the log says so in a line."""
    begun = asyncio.Event()

    async def slow(_request: Request) -> Response:
        begun.set()
        await asyncio.Event().wait()
        return Response("never")

    async with served(slow) as (server, port, task), httpx.AsyncClient() as http:
        asking = asyncio.create_task(http.get(f"http://127.0.0.1:{port}/", timeout=20))
        await begun.wait()
        server.stop()
        await task
        answer = await asking

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert errors_in(caplog) == []


async def test_a_request_that_is_nearly_done_is_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever came before the end gets what they came for."""
    begun = asyncio.Event()

    async def nearly(request: Request) -> Response:
        begun.set()
        await request.app.state.stopping.wait()
        return Response("done")

    async with served(nearly) as (server, port, task), httpx.AsyncClient() as http:
        asking = asyncio.create_task(http.get(f"http://127.0.0.1:{port}/", timeout=20))
        await begun.wait()
        server.stop()
        assert (await asking).text == "done"
        await task

    assert errors_in(caplog) == []


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged as an error, or with a stack trace."""
    return [
        one.getMessage()
        for one in caplog.records
        if one.levelno >= logging.ERROR or one.exc_info is not None
    ]


async def whose(request: Request) -> Response:
    """Answer where a request comes from."""
    assert request.client is not None
    return Response(request.client.host)


@pytest.mark.parametrize(("sender", "told"), [("127.0.0.1", "192.0.2.7"), ("127.0.0.2", None)])
async def test_only_a_proxy_on_this_host_says_where_a_request_comes_from(
    sender: str, told: str | None
) -> None:
    """Anybody else could say so of themselves, and be counted as somebody new each time."""
    app = Starlette(routes=[Route("/", whose)])
    transport = httpx.AsyncHTTPTransport(local_address=sender)
    async with serving(app) as url, httpx.AsyncClient(transport=transport) as http:
        answer = await http.get(url, headers={"X-Forwarded-For": "192.0.2.7"})

    assert answer.text == (told or sender)
