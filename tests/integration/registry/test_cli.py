"""`oauthapps applications | organizations | users | events`, as an operator types them."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration.registry.house import House
from tests.support.command_line import Result, run_command


async def run(house: House, *arguments: str, given: str = "", **settings: str) -> Result:
    """Run the command line to its end."""
    return await run_command(arguments, environment_of(house, **settings), given=given)


def environment_of(house: House, **settings: str) -> dict[str, str]:
    """Return what a command is told of where the registry is."""
    return {**os.environ, "OAUTHAPPS_REGISTRY__DATABASE__URL": house.dsn, **settings}


async def printed(house: House, *arguments: str, given: str = "", **settings: str) -> Any:
    """Return what a command prints as JSON."""
    result = await run(house, *arguments, "--json", given=given, **settings)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


async def refusal(house: House, *arguments: str, given: str = "") -> str:
    """Return the one line that a refused command prints."""
    result = await run(house, *arguments, given=given)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert isinstance(line, str)
    return line


@pytest.mark.parametrize(
    "arguments",
    [
        ("users", "list", "--json"),
        ("users", "lost"),
        ("applications", "show", "nothing"),
        ("events", "list", "--after", "x"),
    ],
)
async def test_what_the_other_tests_run_is_what_an_operator_starts(
    house: House, arguments: tuple[str, ...]
) -> None:
    """They fork a process that has imported everything, which must make no difference."""
    started = await asyncio.to_thread(
        lambda: subprocess.run(
            [Path(sys.executable).with_name("oauthapps"), *arguments],
            env=environment_of(house),
            capture_output=True,
            text=True,
            check=False,
        )
    )
    forked = await run(house, *arguments)

    assert started.returncode == forked.returncode
    assert (started.stdout, started.stderr) == (forked.stdout, forked.stderr)
    assert started.stdout + started.stderr


async def test_the_life_of_an_application(house: House) -> None:
    """Everything that the REST API can do to one, an operator can do without it."""
    ours = ("applications", "create", "--owner", "owner@example.com", "--name", "CI")
    made = await printed(house, *ours, "--inactive")
    assert made["client_secret"].startswith("oas_")
    assert (made["name"], made["active"]) == ("CI", False)

    assert (await printed(house, "applications", "activate", made["id"]))["active"]
    renamed = await printed(house, "applications", "rename", made["client_id"], "Build")
    assert (renamed["name"], renamed["version"]) == ("Build", 3)
    assert not (await printed(house, "applications", "deactivate", made["client_id"]))["active"]
    shown = await printed(house, "applications", "show", made["client_id"])
    assert [one["id"] for one in await printed(house, "applications", "list")] == [made["id"]]
    gone = await printed(house, "applications", "delete", made["client_id"])
    history = await printed(house, "applications", "history", made["id"])

    assert "client_secret" not in shown
    assert gone["deleted"]
    assert [one["type"] for one in history] == [
        "ApplicationCreated",
        "ApplicationActivated",
        "ApplicationUpdated",
        "ApplicationDeactivated",
        "ApplicationDeleted",
    ]
    assert all(one["actor"].startswith("cli:") for one in history)
    events = await printed(house, "events", "list", "--after", "3")
    assert [one["sequence"] for one in events] == [4, 5]


async def test_a_table_names_what_has_a_name(house: House) -> None:
    """It is for people: no ids of owners and organizations, and none of our types."""
    await printed(house, "applications", "create", "--owner", "owner@example.com", "--name", "CI")
    table = (await run(house, "applications", "list")).stdout

    assert "Olga Owner" in table
    assert "Named" not in table
    assert house.owner.id not in table


async def test_secrets_are_rotated_and_revoked(house: House) -> None:
    """The new one is printed once; the old one is good for as long as was asked."""
    ours = ("applications", "create", "--owner", "owner@example.com", "--name", "CI")
    made = await printed(house, *ours)
    id_ = made["id"]

    first = await printed(house, "applications", "rotate-secret", id_, "--overlap", "2h")
    full = await refusal(house, "applications", "rotate-secret", id_)
    second = await printed(house, "applications", "rotate-secret", id_, "--overlap", "0")
    (only,) = second["secrets"]
    left = await printed(house, "applications", "revoke-secret", id_, only["id"])
    again = await refusal(house, "applications", "revoke-secret", id_, only["id"])
    ended = await printed(house, "applications", "revoke-tokens", id_)
    wrong = await run(house, "applications", "rotate-secret", id_, "--overlap", "soon")

    assert len({made["client_secret"], first["client_secret"], second["client_secret"]}) == 3
    assert len(first["secrets"]) == 2
    assert "revoke one first" in full
    assert left["secrets"] == []
    assert again == "oauthapps: The application has no such secret."
    assert ended["version"] == 5
    assert (wrong.returncode, "--overlap" in wrong.stderr) == (2, True)


async def test_people_get_a_table(house: House) -> None:
    """Without --json: names instead of structures, times that can be read, a secret once."""
    ours = ("applications", "create", "--owner", "owner@example.com", "--name", "CI")
    made = (await run(house, *ours)).stdout
    client_id = next(line.split()[-1] for line in made.splitlines() if "client id" in line)
    history = (await run(house, "applications", "history", client_id)).stdout

    assert "oas_" in made
    assert "Olga Owner" in made
    assert "ApplicationCreated" in history
    assert "+00:00" not in made + history
    assert "oas_" not in history


async def test_an_application_that_is_not_there_is_one_line(house: House) -> None:
    """A typo is the commonest error there is."""
    commands = ("show", "history", "activate", "deactivate", "delete", "rotate-secret")
    references = (str(uuid.uuid4()), "nobody")

    lines = await asyncio.gather(
        *(refusal(house, "applications", one, who) for one in commands for who in references)
    )

    assert set(lines) == {"oauthapps: There is no such application."}


@pytest.mark.parametrize(
    ("owner", "options", "words"),
    [
        ("nobody@example.com", (), ("owner",)),
        ("owner@example.com", ("--organization", "Elsewhere"), ("organization",)),
        ("owner@example.com", ("--scope", "everything"), ("scope",)),
        ("owner@example.com", ("--name", " "), ("name",)),
    ],
)
async def test_a_refused_application_names_what_is_wrong(
    house: House, owner: str, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """The same checks as over HTTP, and nothing is appended."""
    ours = ("applications", "create", "--owner", owner, "--name", "CI")
    line = await refusal(house, *ours, *options)

    for word in words:
        assert word in line
    assert await house.head() == 0


async def test_the_directory(house: House) -> None:
    """Enough for owners to exist: organizations, users, and an end to what a user owns."""
    added = await printed(house, "organizations", "add", "ACME", "--global-access")
    user = ("users", "add", "ada@example.com", "--name", "Ada", "--organization", "ACME")
    ada = await printed(
        house, *user, "--administrator", "--password-stdin", given="gift lamp seldom\n"
    )
    ours = ("applications", "create", "--owner", "ada@example.com", "--name", "CI")
    made = await printed(house, *ours)
    disabled = await printed(house, "users", "disable", "ada@example.com")
    shown = await printed(house, "applications", "show", made["id"])
    enabled = await printed(house, "users", "enable", "ada@example.com")

    assert added["global_access"]
    assert ada["administrator"]
    assert "password" not in json.dumps(ada)
    assert (disabled["active"], shown["active"], enabled["active"]) == (False, False, True)
    assert "exists already" in await refusal(
        house, *user, "--password-stdin", given="gift lamp seldom"
    )
    assert len(await printed(house, "users", "list")) == 2
    assert len(await printed(house, "organizations", "list")) == 2


async def test_a_database_that_is_away_is_one_line_without_its_password(house: House) -> None:
    """The URL holds one."""
    away = replace(house, dsn="postgresql://registry:hunter2@127.0.0.1:9/x")

    assert "hunter2" not in await refusal(away, "applications", "list")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("applications",),
        ("applications", "show"),
        ("events", "list", "--after", "-1"),
        ("events", "list", "--after", "9" * 20),
        ("registry", "serve", "--port", "65536"),
        ("registry", "serve", "--workers", "0"),
        ("token", "serve", "--port", "-1"),
        ("notifier", "serve", "--port", "65536"),
    ],
)
async def test_wrong_usage_is_told_on_standard_error(
    house: House, arguments: tuple[str, ...]
) -> None:
    """Status 2, and nothing where a program reads what was asked for."""
    result = await run(house, *arguments)

    assert (result.returncode, result.stdout) == (2, "")
    assert "Usage: " in result.stderr


async def test_migrations_are_told_to_programs_too(house: House, tmp_path: Path) -> None:
    """What was applied, and an empty list when there was nothing to do."""
    settings = {
        "OAUTHAPPS_VAR": str(tmp_path),
        "OAUTHAPPS_NOTIFIER__DATABASE__URL": house.dsn,
    }

    first = await printed(house, "migrate", **settings)
    second = await printed(house, "migrate", **settings)

    # The registry's schema is there already, as in every house.
    assert first["applied"][0] == "0001_deliveries.sql"
    assert first["applied"] == sorted(first["applied"])
    assert second == {"applied": []}


async def test_an_application_is_updated_and_found(house: House) -> None:
    """Description, scopes and end, as over HTTP; and the list by any of its filters."""
    ours = ("applications", "create", "--owner", "owner@example.com")
    made = await printed(house, *ours, "--name", "CI", "--description", "Nightly")
    await printed(house, *ours, "--name", "Other", "--inactive")
    assert made["description"] == "Nightly"

    end = "2046-01-31T00:00:00Z"
    updated = await printed(
        house, "applications", "update", made["id"], "--expires-at", end, "--scope", "events:read"
    )
    assert (updated["expires_at"], updated["scopes"]) == (end, ["events:read"])
    lifted = await printed(house, "applications", "update", made["id"], "--no-expiry")
    assert (lifted["expires_at"], lifted["description"]) == (None, "Nightly")
    past = ("update", made["id"], "--expires-at", "2026-01-01T00:00:00Z")
    assert "expires_at" in await refusal(house, "applications", *past)

    listed = ("applications", "list", "--owner", "owner@example.com", "--organization", "Example")
    found = await printed(house, *listed, "--status", "inactive")
    assert [one["name"] for one in found] == ["Other"]
    found = await printed(house, *listed, "--sort", "created", "--descending")
    assert [one["name"] for one in found] == ["Other", "CI"]
    found = await printed(house, "applications", "list", "--name", "TH")
    assert [one["name"] for one in found] == ["Other"]
