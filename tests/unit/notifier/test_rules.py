"""Rules as an operator writes them."""

from pathlib import Path
from typing import Any

import pytest

from services.notifier.domain import FACT_TYPES, SecretExpiring
from services.notifier.rules import parse_rules
from shared.config import load
from shared.events import EVENT_TYPES, ApplicationDeactivated
from shared.setting_values import ConfigurationError

WHOLE = """\
notifier:
  rules:
    gone:
      event: ApplicationDeactivated
      template: application_deactivated
      recipients: [owner, actor, administrators, ops@example.com]
      enabled: false
      locale: fr-CA
      when:
        organizations: [one, two]
        actor: not_owner
        reasons: [requested, owner_disabled]
    soon:
      event: SecretExpiring
      template: secret_expiring
      recipients: [owner]
      days_before: [30, 7]
"""


def written(tmp_path: Path, text: str) -> Path:
    config = tmp_path / "config.yml"
    config.write_text(text)
    return config


def refused(config: Path) -> str:
    """Return the one line that says why."""
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(load(config).notifier.rules, config=config)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_rule_can_say_all_of_this(tmp_path: Path) -> None:
    """Event, template, recipients, conditions, and whether it is on."""
    config = written(tmp_path, WHOLE)
    gone, soon = parse_rules(load(config).notifier.rules, config=config)

    assert (gone.name, gone.about, gone.enabled) == ("gone", ApplicationDeactivated, False)
    assert gone.recipients == ("owner", "actor", "administrators", "ops@example.com")
    assert (gone.actor, gone.locale) == ("not_owner", "fr_CA")
    assert sorted(gone.organizations) == ["one", "two"]
    assert sorted(gone.reasons) == ["owner_disabled", "requested"]
    assert soon.about is SecretExpiring
    assert (sorted(soon.days_before), soon.enabled) == ([7, 30], True)


def test_every_event_of_the_catalogue_can_have_a_rule() -> None:
    """And the notices beside them."""
    assert FACT_TYPES.keys() == {*EVENT_TYPES, "SecretExpiring", "FirstUseFromAddress"}
    for name in EVENT_TYPES:
        (rule,) = parse_rules({"x": {"event": name, "template": "t", "recipients": ["owner"]}})
        assert rule.about is FACT_TYPES[name]


def test_no_rules_are_rules(tmp_path: Path) -> None:
    """Whoever wants no mail at all can say so."""
    config = written(tmp_path, "notifier: {rules: {}}\n")

    assert parse_rules(load(config).notifier.rules, config=config) == ()


@pytest.mark.parametrize(
    ("line", "instead", "at", "says"),
    [
        (4, "event: ApplicationExploded", 4, ["gone.event", "ApplicationDeactivated"]),
        (4, "evnt: ApplicationDeactivated", 3, ["gone.event", "field required"]),
        (5, "template: ../../etc/passwd", 5, ["gone.template"]),
        (6, "recipients: []", 6, ["gone.recipients"]),
        (6, "recipients: owner", 6, ["gone.recipients"]),
        (6, "recipients: [owner, everybody]", 6, ["gone.recipients.1", "'everybody'", "actor"]),
        (6, "recipients: ['ä@example.com']", 6, ["gone.recipients.0"]),
        (7, "enabled: perhaps", 7, ["gone.enabled"]),
        (8, "locale: klingon", 8, ["gone.locale", "fr_CA"]),
        (8, "days_before: [7]", 3, ["gone", "SecretExpiring"]),
        (8, "colour: red", 8, ["gone.colour", "no such setting", "days_before"]),
        (10, "  organizations: []", 10, ["gone.when.organizations"]),
        (11, "  actor: somebody", 11, ["gone.when.actor", "'not_owner'"]),
        (11, "  who: somebody", 11, ["gone.when.who", "choose from", "reasons"]),
        (12, "  reasons: [mood]", 12, ["gone.when.reasons.0", "'requested'"]),
        (14, "event: ApplicationDeactivated", 13, ["soon", "days_before"]),
        (17, "days_before: [0]", 17, ["soon.days_before.0", "greater than"]),
        (17, "enabled: true", 13, ["soon", "days_before"]),
    ],
)
def test_a_broken_rule_names_file_line_and_remedy(
    tmp_path: Path, line: int, instead: str, at: int, says: list[str]
) -> None:
    """The operator goes there and corrects it."""
    lines = WHOLE.splitlines()
    lines[line - 1] = "      " + instead
    config = written(tmp_path, "\n".join(lines))

    told = refused(config)

    assert told.startswith(f"{config}, line {at}: notifier.rules.")
    assert [one for one in says if one not in told] == [], told


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("notifier:\n  rules: [a]\n", 2),
        ("notifier:\n  rules:\n    a: 7\n", 3),
        ("notifier:\n  rules:\n    a:\n", 3),
        ("notifier:\n  rules:\n    'A b': {}\n", 3),
    ],
)
def test_what_is_no_rule_at_all_is_refused_likewise(tmp_path: Path, text: str, at: int) -> None:
    """Wherever the fault is found first."""
    assert refused(written(tmp_path, text)).startswith(f"{tmp_path}/config.yml, line {at}: ")


def test_a_rule_of_the_environment_is_refused_without_a_line() -> None:
    """There is none to name."""
    rules: dict[str, Any] = {"x": {"event": "ApplicationCreated", "template": "t"}}
    with pytest.raises(
        ConfigurationError, match=r"^notifier\.rules\.x\.recipients: field required"
    ):
        parse_rules(rules)
