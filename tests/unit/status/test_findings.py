"""What the answers of the services come to, and how it is shown."""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from services.status import shape
from services.status.cli import EXIT_STATUS
from services.status.findings import find
from services.status.inquiry import Answers, Replica
from services.status.screen import screen
from services.status.shape import Status
from services.status.words import lasting

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
OBSERVABILITY = Path(__file__).parents[3] / "docs" / "observability.md"
Samples = tuple[tuple[str, Mapping[str, str], float], ...]
BUILD = ("oauthapps_build_info", {"version": "1.0"}, 1.0)


def samples(*told: tuple[Any, ...]) -> Samples:
    """Return samples from `(name, value)` and `(name, labels, value)`."""
    return tuple(
        (one[0], one[1] if len(one) == 3 else {}, float(one[-1])) for one in (BUILD, *told)
    )


REGISTRY = Replica(
    service="registry",
    address="r1:8001",
    ready=True,
    checks={"database": "ok", "relay": "ok"},
    samples=samples(
        ("oauthapps_registry_log_info", {"epoch": "e"}, 1),
        ("oauthapps_registry_log_position", 10),
        ("oauthapps_registry_relay_position", 9),
        ("oauthapps_registry_relay_lag_events", 1),
        ("oauthapps_registry_relay_lag_seconds", 0.1),
        ("oauthapps_registry_relay_leader", 1),
    ),
)
TOKEN = Replica(
    service="token",
    address="t1:8002",
    ready=True,
    checks={"keys": "ok", "projection": "ok", "subscription": "ok"},
    samples=samples(
        ("oauthapps_token_log_info", {"epoch": "e"}, 1),
        ("oauthapps_token_projection_position", 10),
        ("oauthapps_token_projection_staleness_seconds", 1),
        ("oauthapps_token_projection_staleness_limit_seconds", 3600),
        ("oauthapps_token_clients", 3),
        ("oauthapps_token_key_info", {"kid": "k", "algorithm": "RS256", "state": "current"}, 1),
        ("oauthapps_token_signing_key_made_timestamp_seconds", NOON.timestamp() - 86400),
        ("oauthapps_bus_connected", {"service": "token"}, 1),
        ("oauthapps_bus_waiting_events", {"service": "token"}, 0),
    ),
)
NOTIFIER = Replica(
    service="notifier",
    address="n1:8003",
    ready=True,
    checks={"database": "ok", "subscription": "ok", "smtp": "ok", "rules": "ok"},
    samples=samples(
        ("oauthapps_notifier_log_info", {"epoch": "e"}, 1),
        ("oauthapps_notifier_position", 10),
        ("oauthapps_notifier_undecodable_waiting", 0),
        ("oauthapps_notifier_deliveries", {"state": "due"}, 2),
        ("oauthapps_notifier_deliveries", {"state": "parked"}, 0),
        ("oauthapps_notifier_oldest_due_seconds", 3),
    ),
)


def found(*replicas: Replica, **given: Any) -> Status:
    """Return what these answers come to."""
    return find(Answers(replicas=replicas or (REGISTRY, TOKEN, NOTIFIER), **given), NOON)


def told(replica: Replica, name: str, value: float, **labels: str) -> Replica:
    """Return a replica that tells another value."""
    kept = [one for one in replica.samples if (one[0], one[1]) != (name, labels)]
    return replace(replica, samples=(*kept, (name, labels, value)))


def shown(status: Status) -> str:
    """Return the screen as a pipe gets it."""
    console = Console(file=io.StringIO(), width=200, highlight=False, markup=False)
    console.print(screen(status))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_all_is_well() -> None:
    """Then there is nothing to do, and it says so."""
    status = found(broker_asked=True)

    assert (status.state, status.troubles) == ("ok", [])
    assert EXIT_STATUS[status.state] == 0
    assert status.rabbitmq.reached is True
    assert "key         made 24 h ago" in shown(status)
    assert "1 event not confirmed, the oldest 0.1 s old" in shown(status)


AWAY = replace(NOTIFIER, ready=None, checks={}, samples=(), trouble="cannot be reached")
OTHER_KEY = {"kid": "x", "algorithm": "RS256", "state": "current"}
STALENESS = "oauthapps_token_projection_staleness_seconds"
ATTENTION = {
    "RabbitMQ lacks 1 event, the oldest for 5 min": (
        told(REGISTRY, "oauthapps_registry_relay_lag_seconds", 300),
        TOKEN,
        NOTIFIER,
    ),
    "no registry publishes to RabbitMQ": (
        told(REGISTRY, "oauthapps_registry_relay_leader", 0),
        TOKEN,
        NOTIFIER,
    ),
    "notifier n1:8003: smtp: refused": (
        REGISTRY,
        TOKEN,
        replace(NOTIFIER, checks={"smtp": "refused"}),
    ),
    "projection of t1:8002: not confirmed for 10 min": (
        REGISTRY,
        told(TOKEN, STALENESS, 600),
        NOTIFIER,
    ),
    "projection of t1:8002: 4990 events behind the log": (
        told(REGISTRY, "oauthapps_registry_log_position", 5000),
        TOKEN,
        told(NOTIFIER, "oauthapps_notifier_position", 5000),
    ),
    "the log has begun another history, and not all services follow it yet": (
        REGISTRY,
        TOKEN,
        replace(
            NOTIFIER,
            samples=(
                ("oauthapps_notifier_log_info", {"epoch": "old"}, 1.0),
                *(one for one in NOTIFIER.samples if not one[0].endswith("_log_info")),
            ),
        ),
    ),
    "token services sign with different keys": (
        REGISTRY,
        TOKEN,
        replace(told(TOKEN, "oauthapps_token_key_info", 1, **OTHER_KEY), address="t2:8002"),
        NOTIFIER,
    ),
    "the signing key is 400 d old: oauthapps keys rotate": (
        REGISTRY,
        told(
            TOKEN,
            "oauthapps_token_signing_key_made_timestamp_seconds",
            NOON.timestamp() - 400 * 86400,
        ),
        NOTIFIER,
    ),
    "2 mails parked: oauthapps notifications list --state parked": (
        REGISTRY,
        TOKEN,
        told(NOTIFIER, "oauthapps_notifier_deliveries", 2, state="parked"),
    ),
    "mail waits, the oldest for 20 min": (
        REGISTRY,
        TOKEN,
        told(NOTIFIER, "oauthapps_notifier_oldest_due_seconds", 1200),
    ),
    "1 undecodable event parked for a newer notifier: oauthapps notifications undecodable": (
        REGISTRY,
        TOKEN,
        told(NOTIFIER, "oauthapps_notifier_undecodable_waiting", 1),
    ),
}


@pytest.mark.parametrize("what", ATTENTION)
def test_what_needs_a_person_is_told(what: str) -> None:
    """With the figure, and where there is one with the command that comes next."""
    status = found(*ATTENTION[what])

    assert [one.what for one in status.troubles] == [what]
    assert EXIT_STATUS[status.state] == 1
    assert f"attention: {what}" in shown(status)


def test_a_service_that_is_away_is_worse_than_what_needs_a_person() -> None:
    """It stands first, and scripts can tell the two apart."""
    parked = told(REGISTRY, "oauthapps_registry_relay_leader", 0)
    status = found(parked, TOKEN, AWAY)

    assert [one.severity for one in status.troubles] == ["down", "attention"]
    assert EXIT_STATUS[status.state] == 3
    assert status.deliveries is None
    assert status.notifier is None
    assert "mail        not known" in shown(status)


def test_one_that_is_not_ready_is_down_and_says_why() -> None:
    """The reason is the remedy, mostly."""
    unready = replace(TOKEN, ready=False, checks={"keys": "no such file"})

    assert [(one.severity, one.what) for one in found(REGISTRY, unready, NOTIFIER).troubles] == [
        ("down", "token t1:8002: keys: no such file")
    ]


def test_why_the_relay_does_not_publish_is_told_once() -> None:
    """Two lines for one cause look like two causes."""
    cut_off = told(
        replace(REGISTRY, checks={"relay": "RabbitMQ at mq:5672 cannot be reached"}),
        "oauthapps_registry_relay_leader",
        0,
    )

    assert len(found(cut_off, TOKEN, NOTIFIER).troubles) == 1


def test_without_a_bus_nothing_is_missing() -> None:
    """The feed is enough."""
    registry = replace(REGISTRY, samples=REGISTRY.samples[:3])
    status = found(registry, TOKEN, NOTIFIER)

    assert (status.state, status.relay, status.rabbitmq.reached) == ("ok", None, None)
    assert "none: without RabbitMQ the feed is followed" in shown(status)


def test_when_nobody_answers_nothing_is_known() -> None:
    """And nothing breaks: this is when somebody looks."""
    nobody = [replace(AWAY, service=one) for one in ("registry", "token", "notifier")]
    status = found(*nobody)

    assert status.state == "down"
    assert status.keys.published == []
    assert status.projections == []
    assert shown(status).count("not known") == 6


def test_the_head_is_that_of_the_registry_that_is_furthest() -> None:
    """Between two that are asked, events are appended; nobody is ahead of the log."""
    behind = told(REGISTRY, "oauthapps_registry_log_position", 8)
    status = found(behind, TOKEN, NOTIFIER)

    assert [one.lag_events for one in status.projections] == [0]
    log = found(behind, REGISTRY, TOKEN, NOTIFIER).log
    assert log is not None
    assert log.position == 10


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (1e6, "12 d")],
)
def test_durations_are_told_in_few_words(seconds: float, said: str) -> None:
    """Nobody divides by 86400 at night."""
    assert lasting(seconds) == said


def test_the_shape_of_the_json_is_documented() -> None:
    """Scripts are written by it."""
    text = OBSERVABILITY.read_text(encoding="utf-8")
    block = re.search(r"```json\n(\{\n  \"state\".*?)```", text, re.DOTALL)
    assert block is not None
    documented = json.loads(block[1])

    assert msgspec.convert(documented, Status).state == "attention"
    for name, kind in (("services", shape.Service), ("projections", shape.Projection)):
        assert documented[name][0].keys() == set(kind.__struct_fields__)
    assert documented["keys"]["published"][0].keys() == set(shape.Key.__struct_fields__)
    assert documented["subscribers"][0].keys() == set(shape.Subscriber.__struct_fields__)
    assert list(documented) == list(Status.__struct_fields__)
    for name in ("log", "relay", "rabbitmq", "notifier", "keys", "deliveries"):
        field = getattr(shape, {"rabbitmq": "Broker"}.get(name, name.capitalize()))
        assert documented[name].keys() == set(field.__struct_fields__)
