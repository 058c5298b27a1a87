"""How many applications meet a condition, by a sample: what the planner cannot know of names."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.postgres import Pool

# Below so many everything is quickly collected, and nothing is sampled.
FEW = 20_000
SAMPLE = 2000
ESTIMATE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """How many were looked at, and how many meet the first condition, the others, and both."""

    size: int = 0
    first: int = 0
    others: int = 0
    both: int = 0


class Samples:
    """Samples of the applications."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._estimate = 0.0
        self._good_until = 0.0

    async def take(self, first: str, others: Sequence[str], values: Sequence[Any]) -> Sample:
        """Return a sample of about SAMPLE applications; none where there are FEW.

        The conditions are SQL over `a`, with `values` for its parameters.
        """
        if time.monotonic() > self._good_until:
            self._estimate = await self._pool.fetchval(_ESTIMATE)
            self._good_until = time.monotonic() + ESTIMATE_SECONDS
        if self._estimate < FEW:
            return Sample()
        share = min(100.0, 100 * SAMPLE / self._estimate)
        sql = _SAMPLE.format(
            first=first, others=" AND ".join(others) or "true", share=f"${len(values) + 1}"
        )
        row = await self._pool.fetchrow(sql, *values, share)
        assert row is not None  # noqa: S101 - an aggregate has a row
        return Sample(**dict(row))


_ESTIMATE = "SELECT reltuples FROM pg_class WHERE oid = 'registry.applications'::regclass"
_SAMPLE = """
SELECT count(*)                                     AS size,
       count(*) FILTER (WHERE {first})              AS first,
       count(*) FILTER (WHERE {others})             AS others,
       count(*) FILTER (WHERE {first} AND {others}) AS both
  FROM registry.applications a TABLESAMPLE system ({share})
"""
