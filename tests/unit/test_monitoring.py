"""Alerts and dashboard, held against what the services expose and the documents explain."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

# They bring their metrics with them.
import services.notifier.app
import services.registry.app
import services.token.app  # noqa: F401
from shared.config import Settings
from shared.metrics import Reading
from tests.support.missing import missing

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/oauthapps.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
OBSERVABILITY = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
# What Prometheus adds to every series, or makes of our rules.
ADDED = {"job", "instance", "le", "alertname", "alertstate"}
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
_SELECTOR = re.compile(r"\b(oauthapps_[a-z_]+)\b(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\b(?:by|on|without) \(([^)]*)\)")
_MATCHER = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"')


def exposed() -> dict[str, set[str]]:
    """Return every series of ours with its labels."""
    found: dict[str, set[str]] = {one.name: set(one.labels) for one in Reading.all}
    for collector in list(REGISTRY._collector_to_names):
        labels = set(getattr(collector, "_labelnames", ()))
        for family in collector.describe() if hasattr(collector, "describe") else ():
            for suffix in _SUFFIXES.get(family.type, ()):
                found[family.name + suffix] = labels
    return {name: labels for name, labels in found.items() if name.startswith("oauthapps_")}


EXPOSED = exposed()


def unknown_in(expression: str) -> list[str]:
    """Return what an expression asks for that nobody exposes."""
    unknown, labels = [], set(ADDED)
    for name, matchers in _SELECTOR.findall(expression):
        if name not in EXPOSED:
            unknown.append(name)
            continue
        labels |= EXPOSED[name]
        asked = set(_MATCHER.findall(matchers or ""))
        unknown += [f"{name}: {one}" for one in asked - EXPOSED[name] - ADDED]
    for names in _GROUPING.findall(expression):
        asked = {one.strip() for one in names.split(",")}
        # By what other programs expose we group nothing of ours.
        unknown += [f"by {one}" for one in asked - labels]
    return unknown


def panels() -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [one for one in DASHBOARD["panels"] if one["type"] != "row"]


def expressions() -> Iterator[str]:
    """Yield what the dashboard asks for."""
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])
    yield from (one["expr"] for one in DASHBOARD["annotations"]["list"])


@pytest.fixture
def promtool() -> str:
    """Debian's, or that of Prometheus' own release."""
    return shutil.which("promtool") or missing("promtool of the package prometheus")


def run(promtool: str, *arguments: str, cwd: Path = PROMETHEUS) -> None:
    """Let promtool judge."""
    done = subprocess.run(
        [promtool, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_one_that_prometheus_takes(promtool: str) -> None:
    """It reads it once, at its start, in front of the operator."""
    run(promtool, "check", "config", "prometheus.yml")


def test_each_alert_fires_for_what_it_is_about(promtool: str) -> None:
    """And no other with it; see alerts_test.yml."""
    run(promtool, "test", "rules", "alerts_test.yml")


def test_there_is_no_alert_that_was_never_seen_to_fire() -> None:
    """One with a slip in it is silent, as if all were well."""
    tested = (PROMETHEUS / "alerts_test.yml").read_text()

    assert [one["alert"] for one in RULES if f'{{alertname="{one["alert"]}"}}' not in tested] == []


def test_every_alert_is_explained_where_it_says() -> None:
    """Whoever is woken reads two words and a link."""
    explained = re.findall(r"^### (Oauthapps\w+)\n\n\w", OBSERVABILITY, re.MULTILINE)

    assert [one["alert"] for one in RULES] == explained
    for one in RULES:
        assert one["labels"]["severity"] in ("critical", "warning")
        assert one["annotations"].keys() == {"summary", "description", "runbook"}
        expected = f"docs/observability.md#{one['alert'].lower()}"
        assert one["annotations"]["runbook"] == expected


@pytest.mark.parametrize("rule", RULES, ids=lambda one: str(one["alert"]))
def test_an_alert_asks_for_what_is_exposed(rule: dict[str, Any]) -> None:
    """A name that is gone compares as nothing, and nothing fires."""
    assert unknown_in(rule["expr"]) == []


def test_what_nobody_exposes_is_seen() -> None:
    """A check that never fires holds nothing."""
    expression = 'sum by (colour) (oauthapps_ready{what="x"}) + oauthapps_token_sales_total'

    assert unknown_in(expression) == [
        "oauthapps_ready: what",
        "oauthapps_token_sales_total",
        "by colour",
    ]


def test_the_dashboard_asks_for_what_is_exposed() -> None:
    """A panel without data is taken for a quiet system."""
    ours = {one: unknown_in(one) for one in expressions() if "rabbitmq_" not in one}

    assert {one: unknown for one, unknown in ours.items() if unknown} == {}
    assert len(ours) > 30


def test_every_expression_of_the_dashboard_can_be_parsed(promtool: str, tmp_path: Path) -> None:
    """This promtool parses rules; so each is made one."""
    rules = [
        {
            "record": f"dashboard:{number}",
            "expr": one.replace("$__rate_interval", "1m").replace("$instance", ".*"),
        }
        for number, one in enumerate(expressions())
    ]
    assert "$" not in "".join(one["expr"] for one in rules)
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "x", "rules": rules}]}))

    run(promtool, "check", "rules", "rules.yml", cwd=tmp_path)


def test_panels_have_their_own_place_and_say_what_they_show() -> None:
    """Grafana shows one of two with the same id, and lays others over each other."""
    everywhere = [one["gridPos"] for one in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for at in everywhere
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    ids = [one["id"] for one in DASHBOARD["panels"]]

    assert len(ids) == len(set(ids))
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    for one in panels():
        assert one["description"].endswith((".", "parked", "undecodable")), one["title"]
        assert one["fieldConfig"]["defaults"]["thresholds"]["steps"], one["title"]
        for target in one["targets"]:
            assert (
                target["datasource"]
                == one["datasource"]
                == {
                    "type": "prometheus",
                    "uid": "${datasource}",
                }
            )


def test_the_variables_of_the_dashboard_are_those_it_uses() -> None:
    """One that is not there is taken literally, and matches nothing."""
    defined = {one["name"] for one in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\b", json.dumps(DASHBOARD["panels"])))

    assert used == defined == {"datasource", "instance"}


def test_prometheus_scrapes_the_services_where_they_are() -> None:
    """By the names of the containers and the ports of the configuration."""
    compose = yaml.safe_load((ROOT / "deploy" / "docker-compose.yml").read_text())
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    places = {}
    for job in jobs:
        for static in job.get("static_configs", ()):
            (places[job["job_name"]],) = static["targets"]
        for dns in job.get("dns_sd_configs", ()):
            places[job["job_name"]] = f"{dns['names'][0]}:{dns['port']}"
    settings = Settings.model_construct()

    for name in ("registry", "token", "notifier"):
        assert name in compose["services"]
        assert places[name] == f"{name}:{getattr(settings, name).port}"
    assert "rabbitmq" in compose["services"]
    assert places["rabbitmq"] == "rabbitmq:15692"


def test_grafana_finds_the_dashboard_and_its_data() -> None:
    """Provisioned as the compose file mounts it."""
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards/oauthapps.yml").read_text())["providers"]

    assert source["type"] == "prometheus"
    assert source["url"] == "http://prometheus:9090"
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
