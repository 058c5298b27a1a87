"""What the documents say, held against the house: links, names, defaults, permissions."""

import ast
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from services.__main__ import cli
from services.registry.permissions import (
    EVENTS_READ,
    GLOBAL_SCOPES,
    Actor,
    Person,
    may_add_user,
    may_appoint,
    may_change_organization,
    may_change_user,
    may_create_for,
    may_disable_user,
    may_grant,
    may_join,
    may_leave,
    may_manage,
    may_see_organization,
    may_see_user,
    may_weaken_organization,
    rules_all,
)
from shared.bus import INTERNAL_EXCHANGE, PUBLIC_EXCHANGE
from shared.config import Settings
from shared.envelope import cloudevent_type, routing_key
from shared.events import EVENT_TYPES, ApplicationEvent, SecretFacts
from shared.setting_values import parse_duration
from tests.conformance.cases import CASES

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
EVENTS = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
OBSERVABILITY = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
MAIL = (ROOT / "docs" / "mail.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_COMMAND = re.compile(r"(?:^|[\s`(/])oauthapps((?: [a-z][a-z-]*)+)")
_METRIC = re.compile(
    r"\boauthapps_(?:(?:registry|token|notifier|bus)_[a-z_]+|ready|check_passed|build_info)\b"
)

by_name = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: str(one.relative_to(ROOT)))


def without_code(text: str) -> str:
    """Return a document without its fenced blocks, in which `#` and `[` mean other things."""
    return _FENCE.sub("", text)


def anchors_of(path: Path) -> set[str]:
    """Return what can stand behind `#` in a link to a document."""
    headings = _HEADING.findall(without_code(path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def broken_links(path: Path, text: str) -> list[str]:
    """Return the relative links of a document that lead nowhere."""
    broken = []
    for link in _LINK.findall(without_code(text)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    return broken


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no section {heading!r}"
    return found[1]


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of every table row, without headings and rules."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    after_rule = {below for above, below in pairwise(range(len(rows))) if _is_rule(rows[below])}
    return [row for i, row in enumerate(rows) if not _is_rule(row) and i + 1 not in after_rule]


def _is_rule(row: list[str]) -> bool:
    return all(set(cell) <= {"-", ":"} for cell in row)


def leaves_of(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting with its dotted name."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves_of(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def commands_of(text: str) -> set[tuple[str, ...]]:
    """Return the words that follow `oauthapps` in code, as far as they can be commands."""
    code = [block for _, block in _FENCE.findall(text)]
    code += re.findall(r"`([^`\n]+)`", without_code(text))
    return {tuple(words.split()) for one in code for words in _COMMAND.findall(one)}


def is_command(words: tuple[str, ...]) -> bool:
    """Tell whether the command line knows the words; those after a command are its arguments."""
    command: Any = typer.main.get_command(cli)
    for word in words:
        if not hasattr(command, "commands"):
            return True
        command = command.commands.get(word)
        if command is None:
            return False
    return not hasattr(command, "commands")


@by_name
def test_every_relative_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    """A reader who follows a dead link loses trust in the rest."""
    assert broken_links(document, document.read_text(encoding="utf-8")) == []


def test_a_dead_link_is_seen() -> None:
    """A check that never fires holds nothing."""
    text = "[a](nowhere.md) [b](README.md#nothing-here) [c](README.md#try-it) [d](https://x.org)"

    assert broken_links(ROOT / "x.md", text) == ["nowhere.md", "README.md#nothing-here"]


@by_name
def test_every_command_is_one_of_the_command_line(document: Path) -> None:
    """Commands get renamed; whoever copies one from here must not learn that first."""
    commands = commands_of(document.read_text(encoding="utf-8"))

    assert [words for words in sorted(commands) if not is_command(words)] == []


def test_an_unknown_command_is_seen() -> None:
    """A check that never fires holds nothing."""
    text = "`oauthapps keys forge`\n\n```sh\n.venv/bin/oauthapps keys list  # fine\n```\n"

    assert commands_of(text) == {("keys", "forge"), ("keys", "list")}
    assert [is_command(one) for one in (("keys", "forge"), ("keys", "list"))] == [False, True]


@by_name
def test_every_make_target_exists(document: Path) -> None:
    """The first thing that a newcomer types must work."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = document.read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))

    known = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))

    assert sorted(targets - known) == []


@by_name
def test_python_in_a_document_compiles(document: Path) -> None:
    """Examples are copied as they stand."""
    for language, block in _FENCE.findall(document.read_text(encoding="utf-8")):
        if language == "python":
            ast.parse(block)


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_the_catalogue_has_each_event_with_type_key_and_fields(name: str) -> None:
    """Subscribers build on the catalogue without reading our code."""
    described = section(EVENTS, name)
    common = {one.name for one in dataclasses.fields(ApplicationEvent)}
    own = {one.name for one in dataclasses.fields(EVENT_TYPES[name])} - common

    assert f"Type `{cloudevent_type(name)}`, routing key `{routing_key(name)}`." in described
    assert {row[0].strip("`") for row in rows_of(described)} == own


def test_the_catalogue_has_the_fields_that_all_events_share() -> None:
    """They stand once, so they are missed once."""
    for heading, facts in (("Catalogue", ApplicationEvent), ("Secret", SecretFacts)):
        fields = [one.name for one in dataclasses.fields(facts)]

        assert [row[0].strip("`") for row in rows_of(section(EVENTS, heading))] == fields


def test_the_catalogue_names_both_exchanges() -> None:
    """A subscriber binds to a name it read there."""
    named = [row[0].strip("`") for row in rows_of(section(EVENTS, "On RabbitMQ"))]

    assert named == [PUBLIC_EXCHANGE, INTERNAL_EXCHANGE]


def test_every_setting_is_documented_with_its_default() -> None:
    """Operators decide by what stands there, and config.yml is where they change it."""
    configured = yaml.safe_load((ROOT / "config.yml").read_text(encoding="utf-8"))
    scopes = configured.pop("scopes")
    rules = configured["notifier"].pop("rules")
    tables = section_of_configuration()
    documented = {
        row[0].strip("`"): yaml.safe_load(row[1].strip("`"))
        for row in tables
        if row[0].strip("`").split(".")[0] in configured and "." in row[0]
    }

    assert documented == dict(leaves_of(configured))
    assert {
        row[0].strip("`"): {"administrators_only": row[1] == "yes", "description": row[2]}
        for row in rows_of(section(CONFIGURATION, "Scopes"))
    } == scopes
    assert {row[0].strip("`") for row in rows_of(section(MAIL, "Rules that we ship"))} == set(rules)


def section_of_configuration() -> list[list[str]]:
    """Return the rows of all tables about settings."""
    return rows_of(CONFIGURATION[CONFIGURATION.index("Every setting with its default") :])


def test_documented_defaults_are_those_of_the_code() -> None:
    """A value that is left out of the file is the code's, whatever the file said."""
    settings = Settings.model_construct()
    different = []
    for name, default, *_ in section_of_configuration():
        value: Any = settings
        parts = name.strip("`").split(".")
        if len(parts) < 2:
            continue
        for part in parts:
            value = getattr(value, part)
        if as_code(yaml.safe_load(default.strip("`")), value) != value:
            different.append(f"{name}: {default}, not {value!r}")

    assert different == []


def as_code(written: Any, like: Any) -> Any:
    """Return a value of YAML as the type that the code has there."""
    match like:
        case timedelta():
            return parse_duration(written)
        case Path():
            return Path(written)
        case tuple():
            return tuple(written)
        case _:
            return written


def test_every_secret_of_the_configuration_is_documented() -> None:
    """It is in no file that could be read instead."""
    variables = {
        "OAUTHAPPS_" + name.replace(".", "__").upper() for name in secrets_of(Settings, "")
    }

    last = "URL|PASSWORD|CLIENT_SECRET|OTLP_HEADERS"
    named = re.findall(rf"`(OAUTHAPPS_\w+__(?:{last}))`", CONFIGURATION)
    assert set(named) == variables


def secrets_of(model: Any, path: str) -> Iterator[str]:
    """Yield the dotted names of settings that hold a secret."""
    for name, field in model.model_fields.items():
        if "SecretStr" in str(field.annotation):
            yield f"{path}{name}"
        elif hasattr(field.annotation, "model_fields"):
            yield from secrets_of(field.annotation, f"{path}{name}.")


def test_every_metric_is_documented_and_no_other() -> None:
    """Alerts are written by these names."""
    sources = [
        path.read_text(encoding="utf-8")
        for folder in ("services", "shared")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    exposed = {one for source in sources for one in _METRIC.findall(source)}

    assert set(_METRIC.findall(OBSERVABILITY)) == exposed


MINE, OTHERS = "me", "somebody else"
HOME, AWAY = "home", "away"
PLACES = {
    "one's own": (MINE, HOME),
    "another's, in one of one's organizations": (OTHERS, HOME),
    "another's, in another organization": (OTHERS, AWAY),
}
SCOPES = {
    "with `administrators_only: false`": ("any", False),
    "with `administrators_only: true`": ("any", True),
    ", ".join(f"`{one}`" for one in sorted(GLOBAL_SCOPES)): (EVENTS_READ, True),
}
ROLES = [
    Actor(
        user_id=MINE,
        administrator=administrator,
        organizations=frozenset({HOME}),
        has_global_access=everywhere,
    )
    for administrator, everywhere in ((False, True), (True, False), (True, True))
]


def test_the_permissions_table_is_what_the_code_decides() -> None:
    """Who may do what is a promise; the columns are user, administrator, global administrator."""
    words = {"yes": True, "no": False}
    table = {
        row[0]: [words[one] for one in row[1:]]
        for row in rows_of(section(SECURITY, "Who may do what"))
    }

    assert table == {
        **{
            place: [
                may_manage(role, owner_id=owner, organization_id=organization) for role in ROLES
            ]
            for place, (owner, organization) in PLACES.items()
        },
        **{
            scope: [may_grant(role, name, administrators_only=only) for role in ROLES]
            for scope, (name, only) in SCOPES.items()
        },
    }


def member(*organizations: str, administrator: bool = False, user_id: str = OTHERS) -> Person:
    """Return somebody to whom something is done."""
    return Person(
        user_id=user_id, administrator=administrator, organizations=frozenset(organizations)
    )


MYSELF = member(HOME, user_id=MINE, administrator=True)
# What the first column of the table says, and every decision that it stands for.
IN_THE_DIRECTORY: dict[str, list[Callable[[Actor], bool]]] = {
    "see an organization of their own": [lambda by: may_see_organization(by, HOME)],
    "see another organization": [lambda by: may_see_organization(by, AWAY)],
    "add an organization, rename, enable and disable it, give and take global access": [
        may_change_organization,
        lambda by: may_weaken_organization(by, AWAY),
    ],
    "see a member of an organization of their own": [
        lambda by: may_see_user(by, member(HOME)),
        lambda by: may_see_user(by, member(HOME, AWAY, administrator=True)),
    ],
    "see anybody else": [lambda by: may_see_user(by, member(AWAY))],
    "add a user to organizations of their own": [
        lambda by: may_add_user(by, administrator=False, organizations=frozenset({HOME}))
    ],
    "add a user to other organizations, or an administrator": [
        lambda by: may_add_user(by, administrator=False, organizations=frozenset({HOME, AWAY})),
        lambda by: may_add_user(by, administrator=True, organizations=frozenset({HOME})),
    ],
    "change, enable and disable who belongs to organizations of their own alone": [
        lambda by: may_change_user(by, member(HOME)),
        lambda by: may_disable_user(by, member(HOME)),
    ],
    "change, enable and disable who belongs to another one too": [
        lambda by: may_change_user(by, member(HOME, AWAY)),
        lambda by: may_disable_user(by, member(HOME, AWAY)),
    ],
    "change, enable and disable an administrator": [
        lambda by: may_change_user(by, member(HOME, administrator=True)),
        lambda by: may_disable_user(by, member(HOME, administrator=True)),
    ],
    "make somebody an administrator, or no longer one": [
        lambda by: may_appoint(by, member(HOME)),
        lambda by: may_appoint(by, member(HOME, administrator=True)),
    ],
    "make and end a membership, in an organization of their own, of somebody they see": [
        lambda by: may_join(by, member(HOME), HOME),
        lambda by: may_leave(by, member(HOME, AWAY), HOME),
    ],
    "make and end another membership, or one of an administrator": [
        lambda by: may_join(by, member(HOME), AWAY),
        lambda by: may_join(by, member(AWAY), HOME),
        lambda by: may_leave(by, member(HOME, AWAY), AWAY),
        lambda by: may_leave(by, member(HOME, administrator=True), HOME),
    ],
    "disable oneself, end one's own membership or being an administrator": [
        lambda by: may_disable_user(by, MYSELF),
        lambda by: may_leave(by, MYSELF, HOME),
        lambda by: may_appoint(by, MYSELF),
    ],
    "disable or take global access from the organization that one's own rights come from": [
        lambda by: may_weaken_organization(by, HOME)
    ],
    "read the audit": [rules_all],
}


def test_the_table_of_the_directory_is_what_the_code_decides() -> None:
    """Likewise; a row stands for decisions that must all be the same."""
    decided = {
        action: [{may(role) for may in decisions} for role in ROLES]
        for action, decisions in IN_THE_DIRECTORY.items()
    }
    table = {
        row[0]: [{"yes": {True}, "no": {False}}[one] for one in row[1:]]
        for row in rows_of(section(SECURITY, "Who may do what in the directory"))
    }

    assert table == decided


def test_creating_is_allowed_where_managing_is() -> None:
    """The table has one column for both."""
    for role in ROLES:
        for owner, organization in PLACES.values():
            place = {"owner_id": owner, "organization_id": organization}

            assert may_create_for(role, **place) == may_manage(role, **place)


def test_decisions_are_numbered_without_a_hole() -> None:
    """They are cited by number."""
    assert [int(one.name[:4]) for one in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda one: one.name)
def test_every_decision_says_what_would_reopen_it(decision: Path) -> None:
    """A decision without its reasons can only be obeyed or ignored."""
    headings = _HEADING.findall(decision.read_text(encoding="utf-8"))

    assert headings[1:] == [
        "Context",
        "Decision",
        "Consequences",
        "What would make us reconsider",
    ]


def test_the_answers_that_are_compared_are_those_the_suite_holds() -> None:
    """The other server's are of one day; ours must not be."""
    text = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    held = {case.does: (case.ours, case.rule) for case in CASES}
    rows = rows_of(text)

    for requests, ours, _, rule in rows:
        for one in requests.split("; "):
            assert held[one] == (ours, rule)
    assert len(rows) > 20
    assert f"{len(CASES)} requests" in text
