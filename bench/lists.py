"""Pages of lists of a million applications, as the database answers them.

`python -m bench.lists [--applications N]`. Every sort order in both directions under every kind of
filter, three pages each; each twice, since the first reading finds a cold cache.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from bench.crowd import APPLICATIONS, furnish
from bench.house import quantile
from services.embedded.postgres import EmbeddedPostgres
from services.registry.filters import SORTS, Filter, Order
from services.registry.lists import ApplicationLists
from shared.postgres import Pool, create_pool

PAGE = 50
PAGES = 3


def main() -> None:
    """Measure and print the distribution."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--applications", type=int, default=APPLICATIONS)
    options = parser.parse_args()
    uvloop.run(_main(options.applications))


async def _main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="oauthapps-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder))
        dsn = await postgres.start()
        try:
            await furnish(dsn, count)
            pool = await create_pool(dsn, size=1, by_index=True)
            try:
                taken = await pages(pool)
            finally:
                pool.terminate()
        finally:
            await postgres.stop()
    taken.sort()
    slowest = taken[-1]
    times = [milliseconds for milliseconds, _ in taken]
    print(
        f"lists: {len(taken)} pages of {PAGE} of {count:,} applications: "
        f"p50 {quantile(times, 0.5):.1f} ms, p99 {quantile(times, 0.99):.1f} ms, "
        f"slowest {slowest[0]:.1f} ms ({slowest[1]})",
        flush=True,
    )


async def pages(pool: Pool) -> list[tuple[float, str]]:
    """Return how many milliseconds each page took, and which it was."""
    lists = ApplicationLists(pool)
    kinds = await filters(pool)
    for kind, order in _all(kinds):
        await _read(lists, kinds[kind], order)
    taken = []
    for kind, order in _all(kinds):
        name = f"{kind} by {order.by}{' from the end' if order.descending else ''}"
        taken += [(one, name) for one in await _read(lists, kinds[kind], order)]
    return taken


def _all(kinds: dict[str, Filter]) -> Iterator[tuple[str, Order]]:
    for kind, sort, descending in itertools.product(kinds, SORTS, (False, True)):
        yield kind, Order(sort, descending)


async def _read(lists: ApplicationLists, wanted: Filter, order: Order) -> list[float]:
    taken = []
    cursor: str | None = None
    for _ in range(PAGES):
        begun = time.perf_counter()
        _, cursor = await lists.page(wanted, order, limit=PAGE, cursor=cursor)
        taken.append((time.perf_counter() - begun) * 1000)
        if cursor is None:
            break
    return taken


async def filters(pool: Pool) -> dict[str, Filter]:
    """Return filters of all kinds: that find much, little and nothing, alone and together."""
    owner = str(await pool.fetchval("SELECT owner_id FROM registry.applications LIMIT 1"))
    rows = await pool.fetch("SELECT id, name FROM registry.organizations")
    ids = {row["name"]: str(row["id"]) for row in rows}
    small, large = ids["Organization 77"], ids["Organization 1"]
    spring = datetime(2026, 3, 1, tzinfo=UTC)
    return {
        "all": Filter(),
        "active": Filter(active=True),
        "inactive": Filter(active=False),
        "obtaining tokens": Filter(status="active"),
        "expired": Filter(status="expired"),
        "of an owner": Filter(owner_id=owner),
        "of an organization": Filter(organization_ids=frozenset({small})),
        "of a large organization": Filter(organization_ids=frozenset({large})),
        "as a user": Filter(visible_owner=owner),
        "as an administrator": Filter(
            visible_owner=owner, visible_organizations=frozenset({small, large})
        ),
        "a common word": Filter(name="Service"),
        "a common first word": Filter(name="payroll"),
        "two words, obtaining tokens": Filter(name="payroll bridge", status="active"),
        "a rare number": Filter(name="4321"),
        "two letters": Filter(name="pa"),
        "two letters nowhere": Filter(name="zz"),
        "a word nowhere": Filter(name="zebra"),
        "a common word in an organization": Filter(
            name="service", organization_ids=frozenset({small})
        ),
        "a letter of an owner": Filter(name="e", owner_id=owner),
        "two words, inactive": Filter(name="payroll b", active=False),
        "a client": Filter(client_id="c4ca4238a0b923820dcc509a6f75849b"),
        "unused since": Filter(last_used_before=spring),
        "used since": Filter(last_used_since=spring),
    }


if __name__ == "__main__":
    main()
