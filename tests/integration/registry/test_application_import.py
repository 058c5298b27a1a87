"""Adding many applications from a file, and the file with their secrets."""

import asyncio
import io
import json
import os
import stat
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from services.registry import application_import
from services.registry.application_import import ApplicationImport, ImportInterrupted, Summary
from services.registry.event_store import EventStore
from services.registry.import_results import results_in
from services.registry.private_files import FileUnusable
from shared.config import Settings
from shared.credentials import digest_of
from tests.integration.registry.directory import operator
from tests.integration.registry.house import House, proxied
from tests.integration.registry.test_cli import printed, refusal, run
from tests.support.eventually import eventually

OWNER = "owner@example.com"


def line(name: str, **given: Any) -> bytes:
    """Return the line of an application."""
    return json.dumps({"name": name, "owner": OWNER, **given}).encode()


async def take(house: House, results: Path, *lines: bytes, dsn: str | None = None) -> Summary:
    """Import lines."""
    content = b"\n".join(lines)
    async with house.store(dsn=dsn) as store:
        with results_in(results, (await store.head()).log_epoch) as kept:
            importing = ApplicationImport(
                settings=Settings(),
                store=store,
                directory=house.directory,
                results=kept,
                context=operator("cli:import").context,
            )
            return await importing.run(io.BytesIO(content), len(content))


def counts(summary: Summary) -> tuple[int, int, int]:
    """Return added, unchanged, failed."""
    return summary.added, summary.unchanged, len(summary.failed)


def made(results: Path) -> list[dict[str, Any]]:
    """Return what a file of results tells of applications."""
    return [json.loads(one) for one in results.read_bytes().splitlines()[1:]]


async def check_secrets(house: House, results: Path) -> None:
    """Assert that the file has the secrets that the applications have, each once."""
    rows = await house.pool.fetch(
        "SELECT a.client_id, s.digest FROM registry.applications a"
        "  JOIN registry.application_secrets s ON s.application_id = a.id"
    )
    told = [(one["client_id"], digest_of(one["client_secret"])) for one in made(results)]
    assert sorted(told) == sorted((row["client_id"], row["digest"]) for row in rows)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Where the secrets go."""
    return tmp_path / "results.jsonl"


async def test_every_line_becomes_an_application_as_over_rest(house: House, results: Path) -> None:
    """All members of the body of `POST /api/applications`, and its defaults."""
    full = line(
        "Full",
        organization={"id": house.organization.id},
        description="What for",
        active=False,
        scopes=["applications:read"],
        expires_at="2099-01-01T00:00:00Z",
        secret_expires_at="2098-01-01T00:00:00Z",
    )
    summary = await take(house, results, full, b"", line("Bare", owner=house.owner.id))

    assert counts(summary) == (2, 0, 0)
    await check_secrets(house, results)
    told, bare = made(results)
    assert (told["line"], bare["line"]) == (1, 3)
    assert (told["name"], told["organization"], told["owner"]) == ("Full", "Example", OWNER)
    view = await house.views.find(told["id"])
    assert view is not None
    assert (view.active, view.description, view.scopes) == (
        False,
        "What for",
        ["applications:read"],
    )
    assert view.expires_at is not None
    assert view.secrets[0].expires_at is not None
    events = await house.pool.fetch("SELECT metadata, command_id::text FROM registry.events")
    metadata = [json.loads(one["metadata"]) for one in events]
    assert {one["actor"] for one in metadata} == {"cli:import"}
    # All of one import can be found together.
    assert len({one["correlation_id"] for one in metadata}) == 1
    assert [one["command_id"] for one in events] == [told["command_id"], bare["command_id"]]


async def test_a_broken_line_is_told_by_its_number_and_the_others_are_taken(
    house: House, results: Path
) -> None:
    """A file of ten thousand is not written again for one of them."""
    summary = await take(
        house,
        results,
        line("First"),
        b"nope",
        line("", owner=OWNER),
        line("X", owner="nobody@example.com"),
        line("X", organization="Nowhere"),
        line("X", scopes=["nope"]),
        line("X", expires_at="2001-01-01T00:00:00Z"),
        b'{"name": "X"}',
        line("X", colour="red"),
        line("X" * 256),
        line("x\x00"),
        line("First", description="a name is given once"),
        b"[" * 300_000,
        line("Last"),
    )

    assert [one["name"] for one in made(results)] == ["First", "Last"]
    await check_secrets(house, results)
    reasons = {one.line: one.reason for one in summary.failed}
    assert list(reasons) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert reasons[2] == "not a JSON object"
    assert reasons[3] == "name: This value should not be blank."
    assert reasons[4] == "owner: There is no such user."
    assert reasons[5] == "organization: There is no such organization."
    assert reasons[6].startswith("scopes.0: There is no such scope")
    assert reasons[7].startswith("expires_at: Give a time in the future")
    assert reasons[8] == "owner: Name the owner."
    assert reasons[9].startswith("colour: There is no such member")
    assert reasons[10].startswith("name: The name is too long")
    assert reasons[11].startswith("name: The name must not contain control")
    assert reasons[12] == "The application with the given name already exists."
    assert reasons[13].startswith("longer than")


async def test_the_same_file_again_adds_nothing(house: House, results: Path) -> None:
    """Nor does a line that stands in it twice."""
    lines = [line("A"), line("B"), line("A")]
    first = await take(house, results, *lines)
    written = results.read_bytes()
    second = await take(house, results, *lines, line("C"))

    assert (counts(first), counts(second)) == ((2, 1, 0), (1, 3, 0))
    assert results.read_bytes().startswith(written)
    assert await house.head() == 3
    await check_secrets(house, results)


@pytest.mark.parametrize("kept", [0, 1, 100], ids=["nothing", "a byte", "half a line"])
async def test_what_was_added_and_not_written_down_is_found_again_with_its_secret(
    house: House, results: Path, kept: int
) -> None:
    """Killed between the log's commit and the file: the key in its first line is enough."""
    lines = [line(f"CI {n}") for n in range(5)]
    await take(house, results, *lines)
    whole = results.read_bytes()
    results.write_bytes(whole[: whole.index(b"\n") + 1 + kept])

    again = await take(house, results, *lines)

    assert counts(again) == (5, 0, 0)
    assert results.read_bytes() == whole
    assert await house.head() == 5


async def test_an_import_whose_first_line_was_not_finished_begins_anew(
    house: House, results: Path
) -> None:
    """Nothing is done before that line is on disk."""
    await take(house, results, line("A"))
    results.write_bytes(results.read_bytes()[:40])

    assert counts(await take(house, results, line("B"))) == (1, 0, 0)
    assert [one["name"] for one in made(results)] == ["B"]


async def test_it_goes_on_after_the_database_was_lost(
    house: House, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence says that nothing is lost, and what to do."""
    monkeypatch.setattr(application_import, "BATCH", 2)
    lines = [line(f"CI {n}") for n in range(6)]
    async with proxied(house) as (proxy, dsn):
        await take(house, results, *lines[:2], dsn=dsn)
        await proxy.cut()
        with pytest.raises(ImportInterrupted, match="give the same command again"):
            await take(house, results, *lines, dsn=dsn)
        await proxy.release()
        summary = await take(house, results, *lines, dsn=dsn)

    assert counts(summary) == (4, 2, 0)
    await check_secrets(house, results)


async def test_a_killed_import_is_finished_by_the_same_command(
    house: House, results: Path, tmp_path: Path
) -> None:
    """Wherever the kill falls: each application once, each secret in the file."""
    file = tmp_path / "applications.jsonl"
    file.write_bytes(b"\n".join(line(f"CI {n}") for n in range(20_000)))
    command = ("applications", "import", str(file), "--results", str(results))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", *command),
        env={**os.environ, "OAUTHAPPS_REGISTRY__DATABASE__URL": house.dsn},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await eventually(lambda: results.exists() and results.stat().st_size > 100_000)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    before = len(made(results)) if results.read_bytes().endswith(b"\n") else None

    summary = await printed(house, *command)

    assert process.returncode == -9
    assert summary["added"] + summary["unchanged"] == 20_000
    assert before in (None, summary["unchanged"])
    assert await house.head() == 20_000
    assert Counter(one["name"] for one in made(results)).most_common(1)[0][1] == 1
    await check_secrets(house, results)


async def test_it_is_a_command_that_tells_what_it_did(
    house: House, results: Path, tmp_path: Path
) -> None:
    """Counts to standard output, faults to standard error, secrets to the file alone."""
    file = tmp_path / "applications.jsonl"
    file.write_bytes(line("A") + b"\nnope\n" + line("B"))
    command = ("applications", "import", str(file), "--results", str(results))
    result = await run(house, *command, "--json")
    piped = await run(house, *command[:2], "-", *command[3:], given='{"name": "C"}')

    assert (result.returncode, piped.returncode) == (1, 1)
    assert json.loads(result.stdout) == {
        "added": 2,
        "unchanged": 0,
        "failed": [{"line": 2, "reason": "not a JSON object"}],
    }
    assert "line 2: not a JSON object" in result.stderr
    assert "line 1: owner: Name the owner." in piped.stderr
    assert "oas_" not in result.stdout + result.stderr
    assert stat.S_IMODE(results.stat().st_mode) == 0o600
    missing = str(tmp_path / "none.jsonl")
    assert "No such file" in await refusal(house, *command[:2], missing, *command[3:])


async def test_a_file_that_is_not_ours_is_left_as_it_is(
    house: House, results: Path, tmp_path: Path
) -> None:
    """A wrong argument must not cost anybody their file."""
    other = tmp_path / "other.jsonl"
    for content in (b"hello", line("A"), b'{"kind":"import","key":"AAAA","log_epoch":""}\n'):
        other.write_bytes(content)
        other.chmod(0o600)
        with pytest.raises(FileUnusable, match="not one of an import's results"):
            await take(house, other, line("A"))
        assert other.read_bytes() == content
    with pytest.raises(FileUnusable, match="Is a directory"):
        await take(house, tmp_path, line("A"))
    await take(house, results, line("A"))
    results.chmod(0o640)
    with pytest.raises(FileUnusable, match="others can read it"):
        await take(house, results, line("B"))
    assert await house.head() == 1


async def test_two_imports_never_write_into_one_file(house: House, results: Path) -> None:
    """What the one writes the other would not know of."""
    with (
        results_in(results, "epoch"),
        pytest.raises(FileUnusable, match="another import is writing"),
    ):
        await take(house, results, line("A"))


async def test_results_are_of_one_log(house: House, results: Path, store: EventStore) -> None:
    """After a restore, what the file says was added may not be there any more."""
    await take(house, results, line("A"))
    await store.begin_epoch()

    with pytest.raises(FileUnusable, match="another log"):
        await take(house, results, line("B"))
    assert counts(await take(house, results.with_name("new.jsonl"), line("B"))) == (1, 0, 0)
