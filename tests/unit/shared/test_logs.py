"""Logs: one JSON object a line, and nothing secret in it."""

import contextvars
import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import structlog

from shared import request_ids
from shared.credentials import digest_of, new_client_secret
from shared.logs import REMOVED, configure, debug_each, get_logger, remove_secrets, scrub
from shared.sections import Logs
from shared.traceparent import Place
from tests.unit.shared.factories import envelope
from tests.unit.shared.told import ToldTracing

SECRET = new_client_secret()


@pytest.fixture
def written(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[io.StringIO]:
    """What a configured service writes."""
    with _written_by(monkeypatch, Logs(format=getattr(request, "param", "json"))) as stream:
        yield stream


@contextmanager
def _written_by(monkeypatch: pytest.MonkeyPatch, settings: Logs) -> Iterator[io.StringIO]:
    """Configure; the process is as before afterwards."""
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", stream)
    configure(settings, "registry")
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the lines that were written."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    "name",
    [
        "secret",
        "client_secret",
        "secret_digest",
        "Password",
        "password_hash",
        "access_token",
        "Authorization",
        "cookie",
        "client_assertion",
    ],
)
def test_a_field_named_like_a_secret_is_blanked(name: str) -> None:
    """Whatever it holds."""
    assert remove_secrets(None, "info", {name: "x"}) == {name: REMOVED}


def test_names_that_only_sound_like_it_are_kept() -> None:
    """An operator needs them."""
    fields = {"secret_id": "s1", "token_url": "http://t", "event": "hello", "position": 7}

    assert dict(fields) == remove_secrets(None, "info", dict(fields))


def test_a_client_secret_inside_a_text_is_removed() -> None:
    """It comes in messages of libraries."""
    assert scrub(f"body client_secret={SECRET}&x=1") == f"body client_secret={REMOVED}&x=1"


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("amqp://user:pw@host/v", f"amqp://user:{REMOVED}@host/v"),
        ("postgresql://u:p%40w@h:5432/d?x=1", f"postgresql://u:{REMOVED}@h:5432/d?x=1"),
        ("http://host:8001/a@b", "http://host:8001/a@b"),
        ("postgresql://oauthapps@/db?host=/x", "postgresql://oauthapps@/db?host=/x"),
    ],
)
def test_a_password_in_a_url_is_removed(url: str, clean: str) -> None:
    """Errors of drivers quote the address."""
    assert scrub(f"cannot reach {url} now") == f"cannot reach {clean} now"


def test_a_text_is_read_once_however_it_is_made() -> None:
    """A path in an error may be anything; to go back and forth in it would stop the service."""
    for hostile in ("a" * 2_000_000, "a://" + "b" * 2_000_000, "a://b:" * 300_000):
        assert scrub(hostile) == hostile


def test_a_line_is_a_json_object_with_service_and_level(written: io.StringIO) -> None:
    """That is what log systems index."""
    get_logger("services.registry.relay").warning("relay interrupted", reason="down")

    (line,) = lines(written)
    assert line["service"] == "registry"
    assert line["level"] == "warning"
    assert line["logger"] == "services.registry.relay"
    assert (line["event"], line["reason"]) == ("relay interrupted", "down")
    assert line["timestamp"].endswith("Z")


def test_a_line_says_of_which_request_and_of_which_trace_it_is(written: io.StringIO) -> None:
    """Lines of libraries as well; by these one finds what belongs together."""
    contextvars.copy_context().run(_answer_traced)
    get_logger("a").info("of nothing")

    *inside, outside = lines(written)
    assert [one["event"] for one in inside] == ["ours", "theirs"]
    for line in inside:
        assert line["request_id"] == "req-1"
        assert line["trace_id"] == "0" * 31 + "7"
        assert len(line["span_id"]) == 16
    assert {"request_id", "trace_id", "span_id"}.isdisjoint(outside)


def _answer_traced() -> None:
    request_ids.begin([(request_ids.HEADER, b"req-1")])
    with ToldTracing().request("GET", str(Place(7, 7)), {}):
        get_logger("a").info("ours")
        logging.getLogger("some.library").warning("theirs")


@pytest.mark.parametrize(("level", "expected"), [("debug", 2), ("info", 0)])
def test_events_have_lines_where_one_looks_for_faults(
    monkeypatch: pytest.MonkeyPatch, level: Literal["debug", "info"], expected: int
) -> None:
    """One each, with what it belongs to; a long log that is read anew is no news."""
    with _written_by(monkeypatch, Logs(level=level)) as stream:
        events = [envelope(1, correlation_id="req-1"), envelope(2, correlation_id="req-2")]
        debug_each(get_logger("a"), "event applied", events)

    written = lines(stream)
    assert len(written) == expected
    for line, event in zip(written, events, strict=False):
        assert line["event"] == "event applied"
        assert (line["event_id"], line["position"]) == (event.id, event.position)
        assert line["correlation_id"] == event.metadata.correlation_id
        assert line["causation_id"] == event.metadata.command_id


def test_lines_of_libraries_take_the_same_way(written: io.StringIO) -> None:
    """Theirs are those that carry what we did not think of."""
    logging.getLogger("some.library").warning("sent %s", SECRET, extra={"password": "pw-in-extra"})

    assert SECRET not in written.getvalue()
    assert "pw-in-extra" not in written.getvalue()
    assert lines(written)[0]["event"] == f"sent {REMOVED}"


def test_a_traceback_is_scrubbed_too(written: io.StringIO) -> None:
    """An exception's message quotes its input."""
    try:
        raise ValueError(f"bad value {SECRET} for amqp://u:hunter2@h")
    except ValueError:
        get_logger("a").exception("failed")

    (line,) = lines(written)
    assert "ValueError" in line["exception"]
    assert SECRET not in written.getvalue()
    assert "hunter2" not in written.getvalue()


@pytest.mark.parametrize("written", ["console"], indirect=True)
def test_a_traceback_for_people_is_scrubbed_too(written: io.StringIO) -> None:
    """The console's format is rendered elsewhere, and is read over shoulders."""
    address = "ada@example.com"
    try:
        raise ValueError(f"bad value {SECRET} for amqp://u:hunter2@h")
    except ValueError:
        get_logger("b").exception("failed")

    assert "ValueError" in written.getvalue()
    assert f"= {address!r}" not in written.getvalue(), "no variables of frames"
    assert SECRET not in written.getvalue()
    assert "hunter2" not in written.getvalue()


def test_what_stands_in_an_object_is_scrubbed_too(written: io.StringIO) -> None:
    """JSON has no form for it, so its representation is written."""
    get_logger("a").info("got", error=ValueError(SECRET))

    assert SECRET not in written.getvalue()


def test_a_secret_deep_inside_a_field_is_removed(written: io.StringIO) -> None:
    """Somebody will log a whole body one day."""
    get_logger("a").info("got", body={"name": "x", "client_secret": "plain"}, all=[SECRET])

    assert SECRET not in written.getvalue()
    assert "plain" not in written.getvalue()


def test_a_digest_in_a_named_field_is_removed(written: io.StringIO) -> None:
    """Digests are as private as what they were made of."""
    get_logger("a").info("stored", digest=digest_of(SECRET))

    assert digest_of(SECRET) not in written.getvalue()


def test_a_newline_makes_no_second_line(written: io.StringIO) -> None:
    """Nobody can forge a line with a name."""
    get_logger("a").info("renamed", name='x\n{"event":"forged"}')

    assert len(lines(written)) == 1


def test_lines_below_the_level_are_not_written(written: io.StringIO) -> None:
    """Debugging is asked for."""
    get_logger("a").debug("detail")

    assert lines(written) == []
