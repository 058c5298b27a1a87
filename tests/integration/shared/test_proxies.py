"""Whose word is taken for where a request comes from."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared import sections
from shared.server import Server, bind
from tests.support.eventually import eventually

FORWARDED = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}


async def _where_from(request: Request) -> Response:
    assert request.client is not None
    return Response(f"{request.url.scheme} {request.client.host}")


@asynccontextmanager
async def behind(*proxies: str) -> AsyncIterator[httpx.AsyncClient]:
    """Serve what tells where a request came from; yield a client on 127.0.0.1."""
    listener = bind("127.0.0.1", 0, option="--port")
    app = Starlette(routes=[Route("/", _where_from)])
    server = Server(app, sections.Server(proxies=proxies))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await eventually(lambda: server.started)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            yield http
    finally:
        server.stop()
        await task


@pytest.mark.parametrize("proxy", ["127.0.0.1", "127.0.0.0/8", "localhost", "*"])
async def test_a_proxy_that_is_named_is_believed(proxy: str) -> None:
    """By address, by network, and by a name, as containers have."""
    async with behind("192.0.2.7", proxy) as http:
        assert (await http.get("/", headers=FORWARDED)).text == "https 192.0.2.1"
        assert (await http.get("/")).text == "http 127.0.0.1"


@pytest.mark.parametrize("proxies", [(), ("192.0.2.7", "10.0.0.0/8"), ("no-such-host.invalid",)])
async def test_nobody_else_is(proxies: tuple[str, ...]) -> None:
    """Or whoever is limited by address would take another one with each request."""
    async with behind(*proxies) as http:
        assert (await http.get("/", headers=FORWARDED)).text == "http 127.0.0.1"


async def test_what_a_client_itself_says_is_no_part_of_it() -> None:
    """A proxy adds the address that it saw at the end; only proxies are passed over there."""
    async with behind("localhost") as http:
        headers = {"X-Forwarded-For": "198.51.100.9, 192.0.2.1, 127.0.0.1"}
        assert (await http.get("/", headers=headers)).text == "http 192.0.2.1"


def test_what_can_be_nobody_is_refused() -> None:
    """A slip would trust nobody, and all clients would count as one."""
    with pytest.raises(ValidationError, match="host names"):
        sections.Server(proxies=("http://caddy",))
