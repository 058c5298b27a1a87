"""Export and import of the directory."""

import asyncio
import io
import json
import stat
import uuid
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from services.registry import directory_import
from services.registry.directory_export import export_directory
from services.registry.directory_import import DirectoryImport, Summary
from services.registry.event_store import EventStore
from services.registry.withdrawal import withdraw
from tests.integration.registry.directory import operator
from tests.integration.registry.house import House, house_in
from tests.integration.registry.test_cli import printed, refusal, run
from tests.support.postgres import Databases

HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse battery")


def organization(name: str, **given: Any) -> dict[str, Any]:
    """Return the line of an organization."""
    return {"kind": "organization", "name": name, **given}


def user(email: str, **given: Any) -> dict[str, Any]:
    """Return the line of a user."""
    return {"kind": "user", "email": email, **given}


def new(email: str, **given: Any) -> dict[str, Any]:
    """Return the line of a user who is not there yet."""
    return user(email, **{"name": "New", "organizations": ["Example"], **given})


async def take(house: House, *lines: dict[str, Any] | str, **given: Any) -> Summary:
    """Import lines."""
    content = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines).encode()
    given.setdefault("on_disabled", lambda: asyncio.sleep(0))
    importing = DirectoryImport(house.pool, operator("cli:import").context, **given)
    return await importing.run(io.BytesIO(content), len(content))


def counts(summary: Summary) -> tuple[int, int, int, int]:
    """Return added, changed, unchanged, failed."""
    return summary.added, summary.changed, summary.unchanged, len(summary.failed)


async def exported(house: House, *, with_password_hashes: bool = False) -> list[dict[str, Any]]:
    """Return the directory as it is written down."""
    lines: list[bytes] = []
    await export_directory(house.pool, lines.append, with_password_hashes=with_password_hashes)
    return [json.loads(one) for one in lines]


async def test_users_may_name_organizations_that_come_later(house: House) -> None:
    """And what was taken is not taken again."""
    lines: list[dict[str, Any] | str] = [
        new("ada@example.com", organizations=["ACME", {"id": house.organization.id}]),
        organization("ACME", global_access=True),
        "",
    ]

    first, second = await take(house, *lines), await take(house, *lines)

    assert (counts(first), counts(second)) == ((2, 0, 0, 0), (0, 0, 2, 0))
    ada = await house.directory.user("ada@example.com")
    assert [one.name for one in ada.organizations] == ["ACME", "Example"]
    assert ada.version == 1


async def test_what_differs_is_changed_and_what_is_not_said_stays(house: House) -> None:
    """By id, also under another address; without one by the address however it is written."""
    await house.directory.add_organization("ACME")
    summary = await take(
        house,
        user("OWNER@example.com", locale="de", time_zone="Europe/Berlin"),
        user("moved@example.com", id=house.owner.id, name="Olga", organizations=["ACME"]),
        organization("House", id=house.organization.id),
    )

    assert counts(summary) == (0, 3, 0, 0)
    owner = await house.directory.user(house.owner.id)
    assert (owner.email, owner.name, owner.locale) == ("moved@example.com", "Olga", "de")
    assert owner.time_zone == "Europe/Berlin"
    assert [one.name for one in owner.organizations] == ["ACME"]
    assert (await house.directory.organization("House")).id == house.organization.id


async def test_broken_lines_are_told_and_the_good_ones_kept(house: House) -> None:
    """With the number of the line, and without what stands in it."""
    summary = await take(
        house,
        new("a@example.com"),
        "nope",
        new("not an address"),
        new("b@example.com", organizations=["Example", "Nowhere"]),
        new("c@example.com", locale="English"),
        new("d@example.com", password_hash="hunter2"),
        user("e@example.com"),
        new("a@example.com", id=str(uuid.uuid4())),
        organization("\t"),
        organization("Example", id=str(uuid.uuid4())),
        new("z@example.com"),
    )

    assert counts(summary) == (2, 0, 0, 9)
    assert [one.line for one in summary.failed] == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    reasons = "\n".join(one.reason for one in summary.failed)
    assert "organizations.1: there is no such organization" in reasons
    assert "email: another user has this address" in reasons
    assert "name: another organization has this name" in reasons
    assert "example.com" not in reasons.replace("such as ada@example.com", "")
    assert "hunter2" not in reasons
    assert len(await house.directory.users()) == 3


async def test_lines_see_what_the_lines_above_have_done(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one batch as in several: addresses change hands, and swap."""
    lines = [
        new("a@example.com", id=str(uuid.UUID(int=1))),
        new("b@example.com", id=str(uuid.UUID(int=2))),
        user("x@example.com", id=str(uuid.UUID(int=1))),
        user("a@example.com", id=str(uuid.UUID(int=2))),
        user("b@example.com", id=str(uuid.UUID(int=1)), name="Twice"),
        user("b@example.com", name="Thrice"),
    ]
    assert counts(await take(house, *lines)) == (2, 4, 0, 0)
    assert counts(await take(house, *swap("a", "b"))) == (0, 3, 0, 0)
    monkeypatch.setattr(directory_import, "BATCH", 1)
    assert counts(await take(house, *swap("b", "a"), dry_run=True)) == (0, 3, 0, 0)
    assert counts(await take(house, *swap("b", "a"))) == (0, 3, 0, 0)

    first = await house.directory.user(str(uuid.UUID(int=1)))
    assert (first.email, first.name) == ("b@example.com", "Thrice")
    assert (await house.directory.user("a@example.com")).id == str(uuid.UUID(int=2))


def swap(first: str, second: str) -> list[dict[str, Any]]:
    """Return lines by which two users get these addresses, which are each other's."""
    return [
        user("aside@example.com", id=str(uuid.UUID(int=1))),
        user(f"{second}@example.com", id=str(uuid.UUID(int=2))),
        user(f"{first}@example.com", id=str(uuid.UUID(int=1))),
    ]


@pytest.mark.parametrize("batch", [1, 500])
async def test_a_dry_run_says_the_same_and_changes_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Also of what it would have added itself, batches before."""
    monkeypatch.setattr(directory_import, "BATCH", batch)
    lines = [
        new("a@example.com", organizations=["ACME"]),
        organization("ACME"),
        new("A@example.com", name="Again"),
        user("owner@example.com", name="Other"),
        organization("ACME", active=False),
        new("b@example.com", organizations=["Nowhere"]),
    ]
    before = await exported(house)

    dry = await take(house, *lines, dry_run=True)
    assert await exported(house) == before
    wet = await take(house, *lines)

    assert counts(dry) == counts(wet) == (2, 3, 0, 1)


async def test_who_is_disabled_by_an_import_loses_their_applications(
    house: House, store: EventStore
) -> None:
    """As by any other way."""
    await store.append(house.application().creation())

    await take(
        house,
        user("owner@example.com", active=False),
        on_disabled=lambda: withdraw(store, house.views, operator().context),
    )

    types = await house.pool.fetch("SELECT type FROM registry.events ORDER BY position")
    assert [row["type"] for row in types] == ["ApplicationCreated", "ApplicationDeactivated"]


async def test_nobody_leaves_where_they_own_applications(house: House, store: EventStore) -> None:
    """That line is refused; those beside it are not, and a dry run knows it too."""
    await house.directory.add_organization("ACME")
    await store.append(house.application().creation())
    lines = [
        new("a@example.com"),
        user("owner@example.com", organizations=["ACME"]),
        new("b@example.com"),
    ]

    dry, wet = await take(house, *lines, dry_run=True), await take(house, *lines)

    assert counts(dry) == counts(wet) == (2, 0, 0, 1)
    assert wet.failed[0].line == 2
    assert (await house.directory.user(house.owner.id)).organizations == (house.organization,)


async def test_the_audit_has_every_line_that_changed_something(house: House) -> None:
    """By whom, and what."""
    await take(house, new("a@example.com"), user("owner@example.com", locale="de"))

    rows = await house.pool.fetch(
        "SELECT action FROM registry.directory_audit WHERE actor = 'cli:import' ORDER BY id"
    )
    assert [row["action"] for row in rows] == ["user.added", "user.changed"]


async def test_an_export_taken_elsewhere_is_the_same_directory(
    house: House, databases: Databases
) -> None:
    """Ids included, and passwords if asked for."""
    await take(house, new("a@example.com", password_hash=HASH, administrator=True, active=False))
    assert not any("password_hash" in one for one in await exported(house))
    lines = await exported(house, with_password_hashes=True)
    assert [one.get("password_hash") for one in lines if one["kind"] == "user"] == [HASH, None]

    async with house_in(databases) as other:
        await other.pool.execute("TRUNCATE registry.organizations, registry.users CASCADE")
        first, second = await take(other, *lines), await take(other, *lines)
        assert (counts(first), counts(second)) == ((3, 0, 0, 0), (0, 0, 3, 0))
        assert await exported(other, with_password_hashes=True) == lines


def names_in(folder: Path) -> list[str]:
    """Return what lies in a folder."""
    return [one.name for one in folder.iterdir()]


async def test_the_command_line_moves_a_directory(house: House, tmp_path: Path) -> None:
    """A file for its owner only; broken lines on standard error with status 1; a pipe is fine."""
    file = tmp_path / "directory.jsonl"
    written = await run(house, "directory", "export", str(file), "--with-password-hashes")
    assert (written.returncode, written.stdout) == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert names_in(tmp_path) == [file.name]

    same = await printed(house, "directory", "import", str(file))
    broken = json.dumps(new("ada@example.com")) + "\nnope\n"
    result = await run(house, "directory", "import", "-", "--json", given=broken)
    audit = await printed(house, "directory", "audit", "--subject", "ada@example.com")
    shown = await run(house, "directory", "export")

    assert same == {"added": 0, "changed": 0, "unchanged": 2, "failed": [], "dry_run": False}
    assert result.returncode == 1
    assert json.loads(result.stdout)["failed"] == [{"line": 2, "reason": "not a JSON object"}]
    assert result.stderr.splitlines()[0] == "line 2: not a JSON object"
    assert [one["action"] for one in audit] == ["user.added"]
    assert len(shown.stdout.splitlines()) == 3


async def test_files_that_cannot_be_used_are_one_line(house: House, tmp_path: Path) -> None:
    """And hashes never go where others look."""
    missing, folder = str(tmp_path / "none.jsonl"), str(tmp_path)

    assert "No such file" in await refusal(house, "directory", "import", missing)
    assert "not a regular file" in await refusal(house, "directory", "export", folder)
    wrong = await run(house, "directory", "export", "--with-password-hashes")
    assert (wrong.returncode, wrong.stdout) == (2, "")
