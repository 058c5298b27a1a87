"""The proxy breaks a network in the ways that networks break."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio

from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.tcp_proxy import TcpProxy


class Echo:
    """Sends back what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.heard += line
                writer.write(line)
        except OSError:
            pass
        finally:
            writer.close()


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    server = await asyncio.start_server(echo.answer, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    yield echo
    server.close()


@pytest_asyncio.fixture
async def proxy(echo: Echo) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(("127.0.0.1", echo.port)) as proxy:
        yield proxy


class Client:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def say(self, line: bytes) -> None:
        self.writer.write(line)

    async def hear(self, seconds: float = 5) -> bytes:
        return await asyncio.wait_for(self._reader.readline(), seconds)


@asynccontextmanager
async def connected(proxy: TcpProxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def test_it_forwards_both_ways(proxy: TcpProxy) -> None:
    """Unbroken, it is not to be noticed."""
    async with connected(proxy) as client:
        client.say(b"hello\n")
        assert await client.hear() == b"hello\n"
        client.writer.write_eof()
        assert await client.hear() == b""


async def test_held_upstream_the_server_hears_nothing_until_released(
    proxy: TcpProxy, echo: Echo
) -> None:
    """A request that is lost on its way has had no effect yet."""
    async with connected(proxy) as client:
        proxy.hold_upstream()
        client.say(b"hello\n")
        with pytest.raises(TimeoutError):
            await client.hear(0.1)
        assert echo.heard == b""
        await proxy.release()
        assert await client.hear() == b"hello\n"


async def test_held_downstream_the_server_has_acted_and_nobody_knows(
    proxy: TcpProxy, echo: Echo
) -> None:
    """The outcome is unknown: this is the case that costs duplicates."""
    async with connected(proxy) as client:
        proxy.hold_downstream()
        client.say(b"hello\n")
        await eventually(lambda: echo.heard == b"hello\n")
        with pytest.raises(TimeoutError):
            await client.hear(0.1)
        await proxy.release()
        assert await client.hear() == b"hello\n"


async def test_cut_it_resets_and_refuses_until_released(proxy: TcpProxy) -> None:
    """As a server's crash looks from outside, and its return on the same port."""
    async with connected(proxy) as client:
        client.say(b"hello\n")
        assert await client.hear() == b"hello\n"
        await proxy.cut()
        with pytest.raises(ConnectionResetError):
            await client.hear()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(proxy.host, proxy.port)
    await proxy.release()
    async with connected(proxy) as client:
        client.say(b"again\n")
        assert await client.hear() == b"again\n"


async def test_a_server_that_is_down_shows_as_a_reset(proxy: TcpProxy) -> None:
    """The proxy accepts for a server that is not there; the client must still learn of it."""
    proxy.target = ("127.0.0.1", free_port())
    async with connected(proxy) as client:
        with pytest.raises(ConnectionResetError):
            await client.hear()


async def test_it_ends_though_something_is_held(echo: Echo) -> None:
    """A test that fails in the middle of a fault must still come to its end."""
    async with TcpProxy(("127.0.0.1", echo.port)) as proxy, connected(proxy) as client:
        proxy.hold_upstream()
        client.say(b"hello\n")
        await eventually(lambda: proxy.connections == 1)
