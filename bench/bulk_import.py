"""Applications a second of `oauthapps applications import`, from its start to its end.

`python -m bench.bulk_import [--lines N] [--seconds N]`. The lines name a thousand owners in turn.
Beside it, on the same Postgres, the bare loop of `bench.append`: a row and a commit each.
"""

import argparse
import asyncio
import json
import os
import sys
import time

import uvloop

from bench.append import bare_appends
from bench.house import House, house
from shared.postgres import connect

OWNERS = 1000


def main() -> None:
    """Measure once and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--lines", type=int, default=50_000, help="lines of the file")
    parser.add_argument("--seconds", type=float, default=3, help="length of the bare loop")
    options = parser.parse_args()
    uvloop.run(_main(options.lines, options.seconds))


async def _main(lines: int, seconds: float) -> None:
    async with house() as where:
        bare = await bare_appends(where, seconds)
        rate = await imported(where, lines)
    print(
        f"import: {rate:,.0f} applications/s of {lines:,}, "
        f"bare INSERT under a lock {bare:,.0f}/s: ratio {rate / bare:.1f}",
        flush=True,
    )


async def imported(where: House, lines: int) -> float:
    """Return applications a second, the start of the process included."""
    await _add_owners(where)
    file = where.var / "applications.jsonl"
    with file.open("w") as target:
        for n in range(lines):
            owner = f"owner{n % OWNERS}@example.com"
            target.write(json.dumps({"name": f"Application {n}", "owner": owner}) + "\n")
    command = ("applications", "import", str(file), "--results", str(where.var / "results.jsonl"))
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", *command),
        env={**os.environ, "OAUTHAPPS_REGISTRY__DATABASE__URL": where.dsn},
        stdout=asyncio.subprocess.DEVNULL,
    )
    if await process.wait():
        message = "the import failed"
        raise RuntimeError(message)
    return lines / (time.perf_counter() - begun)


async def _add_owners(where: House) -> None:
    connection = await connect(where.dsn)
    try:
        await connection.execute(_OWNERS, where.organization_id, OWNERS)
    finally:
        await connection.close()


_OWNERS = """
WITH added AS (
    INSERT INTO registry.users (email, name)
    SELECT 'owner' || n || '@example.com', 'Owner ' || n FROM generate_series(0, $2::integer - 1) n
    RETURNING id
)
INSERT INTO registry.memberships (user_id, organization_id) SELECT id, $1::uuid FROM added
"""

if __name__ == "__main__":
    main()
