"""Spans on their way to a collector that is there, away, slow, or wants none of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import pytest
import structlog

from shared import otlp
from shared.config import Settings
from shared.sections import Telemetry
from shared.tracing import Tracing, part
from shared.tracing_setup import tracing_of
from tests.support.collector import Collector, collecting
from tests.support.eventually import eventually
from tests.support.ports import free_port


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """One that is asked soon."""
    monkeypatch.setattr(otlp, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(otlp, "RETRY_LONGEST_SECONDS", 0.05)
    with collecting() as running:
        yield running


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the outbox logs."""
    with structlog.testing.capture_logs() as written:
        monkeypatch.setattr(otlp, "log", structlog.get_logger())
        yield written


@asynccontextmanager
async def exporting_to(url: str) -> AsyncIterator[Tracing]:
    """Tell a collector of traces."""
    tracing = tracing_of(Settings(telemetry=Telemetry(otlp_endpoint=url)), "registry")
    async with tracing.exporting():
        yield tracing


def tell(tracing: Tracing, count: int = 1) -> None:
    """Tell of so many requests, of two spans each."""
    for number in range(count):
        with tracing.request("GET /things", None, {"number": number}), part("look up", "client"):
            pass


async def test_the_collector_is_told(collector: Collector) -> None:
    """Service, names, kinds, attributes, and what is part of what."""
    async with exporting_to(f"{collector.url}/") as tracing:
        tell(tracing)
        await eventually(lambda: collector.spans)

    look_up, request = collector.spans
    assert (look_up.name, look_up.kind, look_up.parent) == ("look up", "client", request.id)
    assert (request.name, request.kind, request.parent) == ("GET /things", "server", "")
    assert (request.service, request.attributes) == ("oauthapps-registry", {"number": 0})
    assert look_up.trace_id == request.trace_id


async def test_a_failure_is_an_error_without_its_message(collector: Collector) -> None:
    """The message may hold what nobody may read there."""
    async with exporting_to(collector.url) as tracing:
        with pytest.raises(ValueError, match="hush"), tracing.request("GET", None, {}):
            raise ValueError("hush")
        await eventually(lambda: collector.spans)

    (request,) = collector.spans
    assert request.is_error
    assert request.attributes == {"error.type": "ValueError"}
    assert b"hush" not in b"".join(collector.bodies)


async def test_what_is_left_at_the_end_is_told(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that is replaced takes none of it along."""
    monkeypatch.setattr(otlp, "GATHER_SECONDS", 3600)
    async with exporting_to(collector.url) as tracing:
        tell(tracing, 100)
        assert collector.asked == 0

    assert len(collector.spans) == 200
    assert {one.attributes["number"] for one in collector.named("GET /things")} == set(range(100))


@pytest.mark.parametrize("status", [429, 503])
async def test_one_that_is_overloaded_is_told_later(
    collector: Collector, lines: list[Any], status: int
) -> None:
    """Once, and in one line, however often it was tried."""
    collector.status = status
    async with exporting_to(collector.url) as tracing:
        tell(tracing)
        await eventually(lambda: collector.asked > 3)
        collector.status = 200
        await eventually(lambda: collector.spans)

    assert len(collector.spans) == 2
    assert [(one["event"], one.get("reason"), one["lost"]) for one in lines] == [
        ("traces not exported", f"status {status}", 0),
        ("traces are exported again", None, 0),
    ]


async def test_what_is_refused_is_gone(collector: Collector, lines: list[Any]) -> None:
    """It would be refused again, and keep all others waiting."""
    collector.status = 401
    async with exporting_to(collector.url) as tracing:
        tell(tracing)
        await eventually(lambda: lines)
        collector.status = 200
        tell(tracing)
        await eventually(lambda: collector.spans)

    assert len(collector.spans) == 2
    assert [one["lost"] for one in lines] == [2, 2]
    assert lines[0]["reason"] == "status 401"


async def test_one_that_is_not_there_holds_up_nobody(lines: list[Any]) -> None:
    """Neither while it is told, nor at the end."""
    async with exporting_to(f"http://127.0.0.1:{free_port()}") as tracing:
        tell(tracing)

    assert [one["reason"] for one in lines] == ["no answer (ConnectError)"]


async def test_one_that_hangs_is_given_up_at_the_end(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service ends in its time."""
    monkeypatch.setattr(otlp, "LAST_SECONDS", 0.01)
    collector.hold()
    async with exporting_to(collector.url) as tracing:
        tell(tracing)
        await eventually(lambda: collector.asked)

    assert collector.spans == []


async def test_one_whose_answer_comes_in_drops_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, lines: list[Any]
) -> None:
    """Each drop would start the wait anew, and nobody learn that nothing is told."""
    monkeypatch.setattr(otlp, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(otlp, "ANSWER_SECONDS", 0.2)

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        with closing(writer), suppress(ConnectionError):
            while True:
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.01)

    port = free_port()
    async with (
        await asyncio.start_server(drip, "127.0.0.1", port),
        exporting_to(f"http://127.0.0.1:{port}") as tracing,
    ):
        tell(tracing)
        await eventually(lambda: lines)

    assert lines[0]["reason"] == "no answer (TimeoutError)"


async def test_what_cannot_be_written_is_not_the_end(
    collector: Collector, lines: list[Any]
) -> None:
    """Of tracing, nor of the service when it stops."""

    def encode(spans: Sequence[bytes]) -> bytes:
        if b"bad" in spans:
            raise OverflowError
        return b""

    outbox = otlp.Outbox(f"{collector.url}/v1/traces", {}, encode)
    async with outbox.sending():
        outbox.put(b"bad")
        await eventually(lambda: lines)
        outbox.put(b"good")
        await eventually(lambda: collector.bodies)
        outbox.put(b"bad")

    assert [one["event"] for one in lines] == ["traces not exported", "traces are exported again"]
    assert lines[0]["reason"] == "unexpected OverflowError"


async def test_of_too_many_the_latest_are_kept(
    collector: Collector, lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, however long the collector is away."""
    monkeypatch.setattr(otlp, "CAPACITY", 10)
    collector.status = 503
    async with exporting_to(collector.url) as tracing:
        tell(tracing, 20)
        await eventually(lambda: collector.asked)
        collector.status = 200
        await eventually(lambda: collector.spans)

    assert {one.attributes["number"] for one in collector.named("GET /things")} == set(
        range(15, 20)
    )
    assert lines[-1]["lost"] == 30


async def test_what_is_under_way_at_the_end_is_told_once(collector: Collector) -> None:
    """A collector counts; it does not look whether it has heard of a span."""
    collector.hold()
    async with exporting_to(collector.url) as tracing:
        tell(tracing)
        await eventually(lambda: collector.asked)
        collector.go_on()

    assert len(collector.spans) == 2
