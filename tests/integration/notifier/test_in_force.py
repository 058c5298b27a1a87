"""Rules and templates that change while the service runs."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from prometheus_client import REGISTRY

from services.notifier import samples
from services.notifier.in_force import InForce, files_below
from shared.config import load
from shared.events import ApplicationCreated
from shared.setting_values import ConfigurationError
from shared.web import background
from tests.support.eventually import eventually

RULE = {"event": "ApplicationCreated", "template": "application_created", "recipients": ["owner"]}


class Installation:
    """A configuration and a folder of templates."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.yml"
        self.templates = folder / "var" / "templates"
        self.rules({"first": RULE})
        self.in_force = InForce(load(self.config, folder / "var"))

    def rules(self, rules: object) -> None:
        """Write rules, as editors do: all at once."""
        new = self.config.with_suffix(".new")
        new.write_text(yaml.safe_dump({"notifier": {"rules": rules}}))
        new.replace(self.config)

    def template(self, name: str, text: str) -> None:
        path = self.templates / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.in_force.rules]

    @property
    def subject(self) -> str:
        context = samples.CONTEXTS[ApplicationCreated][0]
        return self.in_force.renderer.parts(
            "application_created", context, samples.reader(), date=samples.MOMENT
        ).subject


@pytest_asyncio.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Installation]:
    """An installation that is watched."""
    monkeypatch.setattr("services.notifier.in_force.LOOK_SECONDS", 0.01)
    house = Installation(tmp_path)
    async with background(house.in_force.watch()):
        yield house


def refusals() -> float:
    return REGISTRY.get_sample_value("oauthapps_notifier_reload_refused") or 0.0


async def test_rules_that_change_are_in_force_without_a_restart(house: Installation) -> None:
    """Nobody restarts a service to add a recipient."""
    house.rules({"first": RULE, "second": {**RULE, "recipients": ["administrators"]}})

    await eventually(lambda: house.names == ["first", "second"])
    assert house.in_force.trouble is None


async def test_a_broken_rule_is_refused_and_the_old_ones_stay(house: Installation) -> None:
    """With file and line; and the next good ones are taken."""
    house.rules({"first": {**RULE, "event": "Nonsense"}})

    trouble = await eventually(lambda: house.in_force.trouble)
    assert f"{house.config}, line 4: notifier.rules.first.event" in trouble
    assert house.names == ["first"]
    assert refusals() == 1

    house.rules({"third": RULE})
    await eventually(lambda: house.names == ["third"])
    assert house.in_force.trouble is None
    assert refusals() == 0


@pytest.mark.parametrize("text", ["notifier: [", "token: {lifetime: soon}\n"])
async def test_a_file_that_cannot_be_read_changes_nothing(house: Installation, text: str) -> None:
    """Whatever is wrong with it."""
    house.config.write_text(text)

    trouble = await eventually(lambda: house.in_force.trouble)
    assert str(house.config) in trouble
    assert house.names == ["first"]


async def test_a_template_of_a_rule_must_be_there(house: Installation) -> None:
    """Otherwise the mail would be parked when it is due."""
    house.rules({"first": {**RULE, "template": "mine"}})
    trouble = await eventually(lambda: house.in_force.trouble)
    assert "line 7: notifier.rules.first.template: no template mine; choose from" in trouble

    for part in ("subject.txt", "body.txt", "body.html"):
        house.template(f"en/mine/{part}", "{{ application_name }}")
    await eventually(lambda: house.in_force.trouble is None)


async def test_a_template_must_fit_the_event_of_its_rule(house: Installation) -> None:
    """A deletion has no date of expiry."""
    house.rules({"first": {**RULE, "event": "ApplicationDeleted", "template": "secret_expiring"}})

    trouble = await eventually(lambda: house.in_force.trouble)
    assert "secret_hint" in trouble
    assert "ApplicationDeleted" in trouble


async def test_templates_that_change_are_in_force_without_a_restart(house: Installation) -> None:
    """Also the first one, and the removal of the last."""
    assert house.subject == "OAuth application added to your account"
    house.template("en/application_created/subject.txt", "Welcome {{ application_name }}\n")
    await eventually(lambda: house.subject == "Welcome Build server")

    (house.templates / "en/application_created/subject.txt").unlink()
    await eventually(lambda: house.subject == "OAuth application added to your account")


async def test_a_broken_template_is_refused_and_the_old_one_stays(house: Installation) -> None:
    """Mails go on as before, and the operator reads why."""
    house.template("en/application_created/subject.txt", "Good\n")
    await eventually(lambda: house.subject == "Good")
    house.template("en/application_created/subject.txt", "{{ secret }}\n")

    trouble = await eventually(lambda: house.in_force.trouble)
    assert "subject.txt, line 1: no variable secret" in trouble
    assert house.subject == "Good"


def test_a_folder_that_is_removed_while_it_is_read_ends_no_watch(tmp_path: Path) -> None:
    """Whoever deploys replaces whole folders; without the watch nothing would change any more."""
    for locale in ("de", "en"):
        (tmp_path / locale / "mine").mkdir(parents=True)
    files = files_below(tmp_path)
    seen = next(one for one in files if one.name == "mine")
    shutil.rmtree(tmp_path / ("en" if seen.parent.name == "de" else "de"))

    assert all(one.is_relative_to(seen.parent) for one in files)


def test_a_broken_rule_at_the_start_is_one_line(tmp_path: Path) -> None:
    """There is nothing older that could stay in force."""
    (tmp_path / "config.yml").write_text("notifier:\n  rules:\n    a: {event: None}\n")

    with pytest.raises(ConfigurationError, match=r"config.yml, line 3: notifier.rules.a"):
        InForce(load(tmp_path / "config.yml", tmp_path))
