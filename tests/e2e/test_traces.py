"""One request as one trace, through all three services."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.credentials import new_client_secret
from tests.e2e.system import System
from tests.support.collector import Collector, Told, collecting
from tests.support.eventually import eventually
from tests.support.smtp_server import SmtpServer

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = {"traceparent": f"00-{TRACE}-{CALLER}-00", "X-Request-Id": "req-7f3a"}
CREATION = "POST /api/applications"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Where all three services export to."""
    with collecting() as running:
        yield running


def settings(collector: Collector) -> dict[str, str]:
    """Return what turns traces on."""
    return {
        "OAUTHAPPS_TELEMETRY__OTLP_ENDPOINT": collector.url,
        "OAUTHAPPS_TELEMETRY__OTLP_HEADERS": "Authorization: Bearer for-the-collector",
        "OAUTHAPPS_LOGS__LEVEL": "debug",
        # The bus alone brings events, so that it is known by whom.
        "OAUTHAPPS_SUBSCRIPTION__HEAD_CHECK": "1h",
    }


async def test_an_application_is_created_as_one_trace(
    tmp_path: Path, database_url: str, amqp_url: str, smtp: SmtpServer, collector: Collector
) -> None:
    """From the request to the mails, each part below what caused it, and nothing secret in it."""
    async with System(
        tmp_path,
        database_url,
        smtp_port=smtp.port,
        amqp_url=amqp_url,
        settings=settings(collector),
    ) as system:
        # An event before it, after which both follow the bus.
        await system.api("GET", "/api/applications")
        await eventually(lambda: system.logs().count("following the bus") == 2)
        await eventually(lambda: smtp.taken)
        answer = await _create(system)
        assert answer.headers["X-Request-Id"] == "req-7f3a"

        spans: list[Told] = await eventually(lambda: _told(collector, "publish"), 20)

        def only(name: str) -> Told:
            (found,) = [one for one in spans if one.name == name]
            return found

        request, append, publish = only(CREATION), only("append"), only("publish")
        assert (request.parent, request.kind, request.service) == (
            CALLER,
            "server",
            "oauthapps-registry",
        )
        assert append.parent == request.id
        assert (publish.parent, publish.kind) == (append.id, "producer")
        apply, intake = only("apply"), only("intake")
        assert (apply.parent, apply.service) == (publish.id, "oauthapps-token")
        assert (intake.parent, intake.service) == (publish.id, "oauthapps-notifier")
        sends = {one.id: one for one in spans if one.name == "send"}
        assert {one.parent for one in sends.values()} == {intake.id}
        for name in ("render", "deliver"):
            assert {one.parent for one in spans if one.name == name} == set(sends)
        asked = [one for one in spans if one.name == "GET /internal/recipients"]
        assert {one.parent for one in asked} <= set(sends)
        assert asked
        assert not any(one.is_error for one in spans)

        await _guess(system, answer.json()["client_id"])
        refused: Told = await eventually(lambda: _refused(collector), 20)
        assert not refused.is_error
        _assert_tell_nothing_secret(collector, answer.json(), system)
        _assert_lines_have_ids(system, spans)


async def test_a_collector_that_hangs_holds_up_nobody(
    tmp_path: Path, database_url: str, smtp: SmtpServer, collector: Collector
) -> None:
    """It is told of everything when it answers again; here by the feed alone."""
    collector.hold()
    async with System(
        tmp_path, database_url, smtp_port=smtp.port, settings=settings(collector)
    ) as system:
        await _create(system)
        await eventually(lambda: len(smtp.taken) >= 2)
        await eventually(lambda: collector.asked)
        assert not collector.bodies

        collector.go_on()
        spans = await eventually(lambda: _told(collector), 20)
        (append,) = [one for one in spans if one.name == "append"]
        for name in ("apply", "intake"):
            assert [append.id] == [one.parent for one in spans if one.name == name]
        await system.notifier.stop()


async def _create(system: System) -> Any:
    answer = await system.api(
        "POST", "/api/applications", {"name": "Traced", "owner": "bob@example.com"}, **GIVEN
    )
    assert answer.status_code == 201, answer.text
    return answer


async def _guess(system: System, client_id: str) -> None:
    """Present a wrong secret; the log alone says what was wrong."""
    answer = await system.http.post(
        f"{system.token.url}/oauth2-token",
        data={"grant_type": "client_credentials"},
        auth=(client_id, new_client_secret()),
        headers={"X-Request-Id": "req-guess"},
    )
    assert (answer.status_code, answer.headers["X-Request-Id"]) == (401, "req-guess")
    lines = [json.loads(one) for one in system.token.log.read_text().splitlines()]
    (line,) = [one for one in lines if one.get("request_id") == "req-guess"]
    assert (line["event"], line["reason"]) == ("refused", "wrong secret")


def _refused(collector: Collector) -> Told | None:
    asked = collector.named("POST /oauth2-token")
    return next((one for one in asked if one.attributes["http.response.status_code"] == 401), None)


def _told(collector: Collector, *more: str) -> list[Told]:
    """Return the trace once it is whole, with a mail to the owner and one to whoever acted."""
    spans = [one for one in collector.spans if one.trace_id == TRACE]
    names = [one.name for one in spans]
    assert names.count("send") == 2, names
    assert {CREATION, "append", "apply", "intake", "GET /internal/recipients", *more} <= set(names)
    return spans


def _assert_tell_nothing_secret(collector: Collector, created: Any, system: System) -> None:
    exported = b"".join(collector.bodies)
    for hidden in (created["client_secret"], "@example.com", "Bob", "Bearer", "eyJ", "oas_"):
        assert hidden.encode() not in exported
    assert created["client_secret"] not in system.logs()
    assert "for-the-collector" not in system.logs()
    sent = {headers["Authorization"] for headers in collector.headers}
    assert sent == {"Bearer for-the-collector"}


def _assert_lines_have_ids(system: System, spans: list[Told]) -> None:
    lines = [json.loads(line) for line in system.logs().splitlines()]
    about = [one for one in lines if one.get("trace_id") == TRACE]
    said = {one["event"] for one in about}
    assert {"event published", "event applied", "event taken in", "mail attempted"} <= said
    for line in about:
        assert line["correlation_id"] == "req-7f3a"
        assert line["causation_id"]
        assert line["span_id"] in {one.id for one in spans}
