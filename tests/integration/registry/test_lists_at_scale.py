"""A million applications: every page of every list is read from an index.

Shown by the plans, since time would show the machine; `python -m bench.lists` measures it.
"""

import itertools
from datetime import UTC, datetime
from uuid import UUID

from bench.crowd import furnish
from bench.lists import filters
from services.registry.filters import SORTS, Order
from services.registry.list_statements import statement, walks_of
from services.registry.lists import ApplicationLists
from shared.postgres import Pool, create_pool

MIDDLE = {
    "name_key": "mailer",
    "organization_key": "organization 250",
    "id": str(UUID(int=2**127)),
}


async def plan_of(pool: Pool, sql: str, values: list[object]) -> str:
    """Return the plan of a statement, as the planner makes it for these very values."""
    return "\n".join(row[0] for row in await pool.fetch(f"EXPLAIN {sql}", *values))


async def test_no_page_of_a_million_applications_needs_a_sequential_scan(
    database_url: str,
) -> None:
    """Whatever the filter and the order, at the beginning and in the middle."""
    await furnish(database_url)
    pool = await create_pool(database_url, size=1, by_index=True)
    scanned = []
    try:
        lists = ApplicationLists(pool)
        moment = datetime(2026, 3, 1, tzinfo=UTC)
        middle = {**MIDDLE, "created_at": moment, "last_used_at": moment}
        kinds = await filters(pool)
        for (kind, wanted), sort, descending in itertools.product(
            kinds.items(), SORTS, (False, True)
        ):
            order = Order(sort, descending)
            for walk, begun in itertools.product(walks_of(wanted, order), (False, True)):
                after = [middle[key] for key in walk.keys] if begun else None
                narrowed = await lists.narrowed(wanted, walk, order, after)
                sql, values = statement(narrowed, walk, order, limit=51, after=after)
                plan = await plan_of(pool, sql, values)
                assert "Scan" in plan
                if "Seq Scan" in plan:
                    scanned.append((kind, order, plan))
        naive = await plan_of(
            pool, "SELECT * FROM registry.applications WHERE name LIKE '%zebra%' LIMIT 51", []
        )
    finally:
        pool.terminate()

    assert scanned == []
    # The plans do tell: what no index helps with is a sequential scan.
    assert "Seq Scan" in naive
