"""Bodies that are too large, too slow, broken off or nonsense, on a raw connection."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from shared import bounded_http, one_write
from tests.integration.token.house import House, serving

FORM = "Content-Type: application/x-www-form-urlencoded"


def head(*lines: str) -> bytes:
    return "\r\n".join(["POST /token HTTP/1.1", "Host: x", *lines, "", ""]).encode()


async def exchange(house: House, *parts: bytes, seconds: float = 10) -> bytes:
    """Send parts and return everything until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(seconds):
            return await reader.read()
    finally:
        writer.close()


def assert_refused(answer: bytes, status: int) -> None:
    first, _, rest = answer.partition(b"\r\n")
    assert f"HTTP/1.1 {status} ".encode() in first + b" "
    assert b"cache-control: no-store\r\n" in rest
    assert b"pragma: no-cache\r\n" in rest
    assert b"connection: close\r\n" in rest
    assert b'"error":"invalid_request"' in rest


async def test_a_body_that_is_announced_too_large_is_refused_unread(
    house: House, http: httpx.AsyncClient
) -> None:
    """16 KiB is plenty for a form."""
    assert_refused(await exchange(house, head(FORM, "Content-Length: 16385")), 413)
    assert_refused(await exchange(house, head(FORM, "Content-Length: 99999999999999")), 413)


async def test_a_chunked_body_is_refused_once_it_is_too_large(
    house: House, http: httpx.AsyncClient
) -> None:
    """It announces nothing."""
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"

    answer = await exchange(house, head(FORM, "Transfer-Encoding: chunked"), *[chunk] * 5)

    assert_refused(answer, 413)


@pytest.mark.parametrize("size", [16_385, 100_000, 1_000_000])
async def test_a_client_that_sends_everything_first_still_reads_the_refusal(
    house: House, http: httpx.AsyncClient, size: int
) -> None:
    """A reset in place of the answer would look like an outage."""
    response = await http.post(
        "/token",
        content=b"x" * size,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert response.status_code == 413


async def test_a_client_that_is_still_sending_reads_the_refusal(
    house: House, http: httpx.AsyncClient
) -> None:
    """In chunks it learns of no limit beforehand, and what it sends must not reset the answer."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    response = await http.post(
        "/token",
        content=chunks(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert response.status_code == 413


async def test_a_client_that_never_stops_sending_is_cut_off(
    house: House, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, but not for ever."""
    monkeypatch.setattr(one_write, "LINGER_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(head(FORM, "Transfer-Encoding: chunked"))

    async def sending() -> None:
        while True:
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.001)

    task = asyncio.create_task(sending())
    async with asyncio.timeout(5):
        answer = await reader.readuntil(b"}")
        with pytest.raises(ConnectionError):
            await task
    writer.close()
    assert_refused(answer, 413)


async def test_the_largest_body_allowed_is_read(house: House, http: httpx.AsyncClient) -> None:
    """The limit is part of what is allowed."""
    form = urlencode(house.request())
    padded = f"{form}&padding=".ljust(16_384, "x")

    response = await http.post(
        "/token",
        content=padded,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert response.status_code == 200


@pytest.mark.parametrize("parts", [[], [b"grant_type="], [b"g", b"r"]])
async def test_a_slow_body_is_cut_off(house: House, parts: list[bytes]) -> None:
    """Whoever opens connections and says nothing must not collect them."""
    async with house.ready(body_timeout=timedelta(milliseconds=200)):
        before = time.monotonic()

        answer = await exchange(house, head(FORM, "Content-Length: 100"), *parts)

        assert_refused(answer, 408)
        assert time.monotonic() - before < 5


async def test_a_trickling_body_is_cut_off_as_well(house: House) -> None:
    """The time is for the whole body, not for each byte."""
    async with house.ready(body_timeout=timedelta(milliseconds=300)):
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(head(FORM, "Content-Length: 1000"))

        async def trickle() -> None:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)

        task = asyncio.create_task(trickle())
        async with asyncio.timeout(5):
            answer = await reader.read()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        writer.close()

        assert_refused(answer, 408)


async def test_a_client_that_goes_away_harms_nobody(house: House, http: httpx.AsyncClient) -> None:
    """In the middle of its head, or of its body."""
    for sent in (b"POST /tok", head(FORM, "Content-Length: 100") + b"grant"):
        _, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(sent)
        await writer.drain()
        writer.transport.abort()

    assert (await http.post("/token", data=house.request())).status_code == 200


async def test_what_is_not_http_gets_no_stack_trace(house: House, http: httpx.AsyncClient) -> None:
    """Scanners send all sorts of things."""
    for sent in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", head("Content-Length: -1")):
        answer = await exchange(house, sent)

        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"Traceback" not in answer


async def test_answers_are_whole_over_joined_writes(house: House) -> None:
    """In its own time and order: pipelined requests too, and the last one before the end."""
    house.make_keys()
    await house.registry.tell(house.application.created())
    from services.token.app import create_app

    async with house.registry.serving(), serving(create_app(house.settings())) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(5):
            answer = await reader.read(65_536)
        assert answer.endswith(b'\r\n\r\n{"live":true}')

        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        writer.write(b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(5):
            answers = await reader.read()
        writer.close()
        assert answers.count(b"HTTP/1.1 200 OK") == 3
        assert answers.endswith(b"}")
        assert b"HTTP/1.1 404" in answers


OFFER = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")


@pytest.mark.parametrize("packets", [1, 2])
async def test_an_offer_of_another_protocol_is_passed_over(
    house: House, http: httpx.AsyncClient, packets: int
) -> None:
    """Java's client makes it with each first request; the body counts, and what comes after it."""
    body = urlencode(house.request()).encode()
    length = f"Content-Length: {len(body)}"
    first = [head(FORM, length, *OFFER), body]
    last = head(FORM, length, "Connection: close") + body

    answers = await exchange(house, *(first if packets == 2 else [b"".join(first)]), last)

    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.count(b'"access_token"') == 2
    refused = await exchange(house, b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "lengths",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 50"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Transfer-Encoding : chunked",),
    ],
)
async def test_a_request_of_two_lengths_is_refused(
    house: House, http: httpx.AsyncClient, lengths: tuple[str, ...]
) -> None:
    """A proxy in front may go by the other one, and take the rest for a request of its own."""
    smuggled = b"0\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n"

    answer = await exchange(house, head(FORM, *lengths, "Connection: close") + smuggled)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"live"' not in answer


async def test_trailers_are_no_headers(house: House, http: httpx.AsyncClient) -> None:
    """A proxy in front that takes headers away does not see them (RFC 9110, section 6.5.1)."""
    body = urlencode(house.request()).encode()
    chunk = b"%x\r\n%s\r\n0\r\n" % (len(body), body)
    fields = ("Transfer-Encoding: chunked", "Connection: close")

    answer = await exchange(house, head(FORM, *fields) + chunk + b"Authorization: Basic x\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("start", ["PUT /token", "POST /nothing"])
async def test_a_body_that_nobody_reads_is_cut_off_too(
    house: House, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    """It was answered before it came; the connection must not stay open for the rest of it."""
    monkeypatch.setattr(bounded_http, "UNREAD_SECONDS", 0.1)
    monkeypatch.setattr(one_write, "LINGER_SECONDS", 0.1)

    request = f"{start} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    answer = await exchange(house, request.encode())

    assert answer.startswith(b"HTTP/1.1 40")


async def test_a_body_that_comes_after_its_answer_leaves_the_connection_open(
    house: House, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many clients send head and body apart."""
    monkeypatch.setattr(bounded_http, "UNREAD_SECONDS", 0.1)
    monkeypatch.setattr(one_write, "LINGER_SECONDS", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    async with asyncio.timeout(5):
        writer.write(b"PUT /token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        await reader.readuntil(b"}")
        writer.write(b"123456789")
        # The time in which it would be cut off passes here.
        await exchange(house, b"PUT /token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        writer.write(head(FORM, "Connection: close", "Content-Length: 0"))
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()


@pytest.mark.parametrize("parts", [[], [b"POST /token HTTP/1.1\r\n"]])
async def test_a_connection_that_asks_for_nothing_is_closed(
    house: House, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, parts: list[bytes]
) -> None:
    """Whoever opens connections and says nothing, or half a head, must not collect them."""
    monkeypatch.setattr(bounded_http, "HEAD_SECONDS", 0.1)

    assert await exchange(house, *parts) == b""


async def test_a_request_under_way_is_not_taken_for_silence(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its own limit."""
    async with house.ready(body_timeout=timedelta(milliseconds=400)):
        monkeypatch.setattr(bounded_http, "HEAD_SECONDS", 0.05)

        assert_refused(await exchange(house, head(FORM, "Content-Length: 100")), 408)


async def test_a_head_without_end_is_refused(house: House, http: httpx.AsyncClient) -> None:
    """Nothing of it is looked at before it has ended, and it takes memory."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(b"POST /token HTTP/1.1\r\nX: " + b"x" * 70_000)
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    writer.close()
