"""What applications take on disk: log and read model, deliveries of mail, and the projection.

`python -m bench.sizes [--applications N]`: imports so many, each with one event and one mail to its
owner, and waits until token service and notifier know all of them. The mails are not sent.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench.bulk_import import imported
from bench.house import House, free_port, house, make_credentials, served
from services.notifier.app import MIGRATIONS, SCHEMA
from shared.config import Settings
from shared.postgres import connect, migrate_database

WAIT_SECONDS = 300.0
PARTS = {
    "log": ("registry.events",),
    "read model": ("registry.applications", "registry.application_secrets"),
    "mail": ("notifier.deliveries",),
}


def main() -> None:
    """Measure once and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--applications", type=int, default=100_000)
    options = parser.parse_args()
    uvloop.run(_main(options.applications))


async def _main(count: int) -> None:
    async with house() as where:
        make_credentials(Settings(var=where.var))
        await migrate_database(where.dsn, SCHEMA, MIGRATIONS)
        await imported(where, count)
        port = free_port()
        # A port on which nobody takes mail.
        unsent = {"NOTIFIER__DATABASE__URL": where.dsn, "NOTIFIER__SMTP__PORT": "9"}
        followed = {"REGISTRY__PORT": str(port)}
        projection = where.var / "projection"
        async with (
            served(where, "registry", port),
            served(where, "notifier", free_port(), **followed, **unsent),
            served(where, "token", free_port(), **followed),
        ):
            await _until(lambda: _recorded(where, count))
            filled = megabytes(projection)
        sizes = await _sizes(where)
    print(
        f"sizes of {count:,} applications, in MB: "
        + ", ".join(f"{name} {size:.0f}" for name, size in {**sizes, "projection": filled}.items()),
        flush=True,
    )


async def _recorded(where: House, count: int) -> bool:
    connection = await connect(where.dsn)
    try:
        position: int = await connection.fetchval("SELECT position FROM notifier.cursor")
    finally:
        await connection.close()
    # The snapshot comes whole, and sooner than as many events.
    return position >= count


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not await condition():
        if time.monotonic() > deadline:
            message = "the services did not follow the log"
            raise RuntimeError(message)
        await asyncio.sleep(0.2)


async def _sizes(where: House) -> dict[str, float]:
    connection = await connect(where.dsn)
    try:
        return {
            name: sum([await connection.fetchval(_SIZE, table) for table in tables]) / 1e6
            for name, tables in PARTS.items()
        }
    finally:
        await connection.close()


def megabytes(folder: Path) -> float:
    """Return what the files of a folder take on the disk."""
    return sum(one.stat().st_blocks * 512 for one in folder.rglob("*") if one.is_file()) / 1e6


# With its indexes.
_SIZE = "SELECT pg_total_relation_size($1::regclass)"

if __name__ == "__main__":
    main()
