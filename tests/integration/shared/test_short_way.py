"""A request goes the short way if it came whole, and nobody outside can tell which way it went."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from shared import bounded_http, request_ids
from shared.server import Server, bind
from shared.short_way import SHORT_WAYS, Answer
from shared.stopping import CLOSE
from tests.support.eventually import eventually

HEAD = "POST /short HTTP/1.1\r\nHost: x\r\nX-Request-Id: r1\r\n"
WHOLE = f"{HEAD}Content-Length: 3\r\n\r\nabc"


class Service:
    """Counts what goes which way; answers with the body it got."""

    def __init__(self) -> None:
        self.short = 0
        self.usual = 0
        self.state: Any = None
        self.headers: Sequence[tuple[bytes, bytes]] = ()
        self.held = asyncio.Event()
        self.held.set()

    async def answer(
        self, path: str, headers: Sequence[tuple[bytes, bytes]], address: str, body: bytes
    ) -> Answer:
        """Answer what is whole."""
        assert (path, address) == ("/short", "127.0.0.1")
        assert (b"host", b"x") in headers
        self.short += 1
        self.headers = headers
        await self.held.wait()
        if body == b"die":
            raise ValueError
        more = (CLOSE,) if body == b"end" else ()
        return 200, ((b"content-type", b"text/plain"), *more), body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer all the rest."""
        if scope["type"] == "lifespan":
            await receive()
            scope["state"][SHORT_WAYS] = {b"/short": self.answer}
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.usual += 1
        request_id = (request_ids.HEADER, request_ids.begin(scope["headers"]))
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        length = (b"content-length", str(len(body)).encode())
        kind = (b"content-type", b"text/plain")
        await send(
            {"type": "http.response.start", "status": 200, "headers": [kind, length, request_id]}
        )
        await send({"type": "http.response.body", "body": body})


class Caller:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, text: str) -> None:
        """Send bytes as they are."""
        self.writer.write(text.encode())
        await self.writer.drain()

    async def answer(self) -> tuple[str, list[str], bytes]:
        """Return status line, header lines without the date, and body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        lines = [one for one in head[1:] if one and not one.startswith("date:")]
        length = next(one for one in lines if one.startswith("content-length: "))
        return head[0], sorted(lines), await self.reader.readexactly(int(length.split()[1]))


@asynccontextmanager
async def served(service: Service) -> AsyncIterator[tuple[Server, Caller]]:
    """Serve it; yield the server and a connection."""
    listener = bind("127.0.0.1", 0, option="--port")
    app: Any = service
    app.state = type("State", (), {})()
    server = Server(app)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await eventually(lambda: server.started)
    reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
    try:
        yield server, Caller(reader, writer)
    finally:
        writer.close()
        server.stop()
        await task


async def test_both_ways_answer_alike() -> None:
    """What comes in one piece goes the short way, what comes in two the usual one."""
    service = Service()
    async with served(service) as (_, caller):
        await caller.send(WHOLE)
        short = await caller.answer()
        await caller.send(WHOLE[:-1])
        await eventually(lambda: service.usual == 1)
        await caller.send(WHOLE[-1:])

        assert await caller.answer() == short
    assert (service.short, service.usual) == (1, 1)


@pytest.mark.parametrize(
    "request_",
    [
        WHOLE.replace("/short", "/long"),
        WHOLE.replace("/short", "/short?x=y"),
        WHOLE.replace("POST", "PUT"),
        WHOLE.replace("Host: x", "Host: x\r\nX-Forwarded-For: 192.0.2.1"),
        WHOLE.replace("Host: x", "Host: x\r\nConnection: close"),
        WHOLE.replace("HTTP/1.1", "HTTP/1.0"),
        f"{HEAD}Content-Length: 70000\r\n\r\n" + 70000 * "a",
    ],
)
async def test_what_is_not_plain_goes_the_usual_way(request_: str) -> None:
    """Proxies, other methods, connections that end: the short way knows nothing of them."""
    service = Service()
    async with served(service) as (_, caller):
        # In pieces only where it is too large for one.
        await caller.send(request_)

        status, _, body = await caller.answer()

    assert "200 OK" in status
    assert body == request_.partition("\r\n\r\n")[2].encode()
    assert service.usual + service.short == 1
    assert service.usual == 1 or len(body) == 70000


async def test_a_body_in_chunks_is_whole_too() -> None:
    """The parser says when it is complete; what comes after it is no header (RFC 9110, 6.5.1)."""
    service = Service()
    async with served(service) as (_, caller):
        await caller.send(
            f"{HEAD}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )

        assert (await caller.answer())[2] == b"abcde"
    assert service.short == 1


async def test_requests_that_come_together_are_answered_in_order() -> None:
    """Pipelined (RFC 9112, section 9.3.2), the second waits for the first."""
    service = Service()
    service.held.clear()
    async with served(service) as (_, caller):
        await caller.send(WHOLE + WHOLE.replace("abc", "def") + WHOLE.replace("abc", "ghi"))
        await eventually(lambda: service.short == 1)
        service.held.set()

        assert [(await caller.answer())[2] for _ in range(3)] == [b"abc", b"def", b"ghi"]


async def test_a_request_that_waits_for_another_has_time_for_its_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is no body that nobody reads: the answer before it was another request's."""
    monkeypatch.setattr(bounded_http, "UNREAD_SECONDS", 0.0)
    service = Service()
    service.held.clear()
    async with served(service) as (_, caller):
        await caller.send(WHOLE + WHOLE[:-1])
        await eventually(lambda: service.short == 1)
        service.held.set()
        await caller.answer()
        # The time in which it would be cut off passes here.
        await eventually(lambda: service.usual == 1)
        await caller.send(WHOLE[-1:])

        assert (await caller.answer())[2] == b"abc"


async def test_an_answer_may_end_the_connection() -> None:
    """It says so, and does so."""
    async with served(Service()) as (_, caller):
        await caller.send(WHOLE.replace("abc", "end"))

        assert "connection: close" in (await caller.answer())[1]
        assert await caller.reader.read() == b""


async def test_what_fails_is_answered_500() -> None:
    """A responder answers whatever happens; if it does not, nobody is left hanging."""
    async with served(Service()) as (_, caller):
        await caller.send(WHOLE.replace("abc", "die"))

        status, lines, _ = await caller.answer()
    assert "500" in status
    assert "connection: close" in lines


async def test_a_caller_that_leaves_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is there to be answered."""
    service = Service()
    service.held.clear()
    async with served(service) as (_, caller):
        await caller.send(WHOLE)
        await eventually(lambda: service.short == 1)
        caller.writer.transport.abort()
        await asyncio.sleep(0)
        service.held.set()
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


async def test_a_stop_lets_a_request_finish_and_ends_its_connection() -> None:
    """The other side learns that the connection ends, and sends nothing more on it."""
    service = Service()
    service.held.clear()
    async with served(service) as (server, caller):
        await caller.send(WHOLE)
        await eventually(lambda: service.short == 1)
        server.stop()
        await eventually(lambda: not server.servers[0].is_serving())
        service.held.set()
        status, lines, body = await caller.answer()

    assert "200" in status
    assert body == b"abc"
    assert "connection: close" in lines


async def test_a_stop_does_not_wait_for_ever() -> None:
    """What takes too long is told to try again."""
    service = Service()
    service.held.clear()
    async with served(service) as (server, caller):
        await caller.send(WHOLE)
        await eventually(lambda: service.short == 1)
        server.stop()
        status, lines, _ = await caller.answer()

    assert "503" in status
    assert "retry-after: 1" in lines
