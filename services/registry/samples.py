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
    """How many were looked at, and how many meet the first condition, the others, and both.

    `ahead` are those that a walk meets before the first that meets both.
    """

    size: int = 0
    first: int = 0
    others: int = 0
    both: int = 0
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class Way:
    """A walk: by which column, of which type, from where on (None: its beginning), which way."""

    key: str
    type: str
    after: Any = None
    descending: bool = False


class Samples:
    """Samples of the applications."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._estimate = 0.0
        self._good_until = 0.0

    async def take(
        self, first: str, others: Sequence[str], values: Sequence[Any], way: Way
    ) -> Sample:
        """Return a sample of about SAMPLE applications; none where there are FEW.

        The conditions are SQL over `a`, with `values` for its parameters.
        """
        if time.monotonic() > self._good_until:
            self._estimate = await self._pool.fetchval(_ESTIMATE)
            self._good_until = time.monotonic() + ESTIMATE_SECONDS
        if self._estimate < FEW:
            return Sample()
        share = min(100.0, 100 * SAMPLE / self._estimate)
        given = [*values, share]
        on_way = "true"
        if way.after is not None:
            given.append(way.after)
            on_way = f"sample.key {'<=' if way.descending else '>='} ${len(given)}::{way.type}"
        sql = _SAMPLE.format(
            key=way.key,
            first=first,
            others=" AND ".join(others) or "true",
            share=f"${len(values) + 1}",
            on_way=on_way,
            before=">" if way.descending else "<",
            nearest="max" if way.descending else "min",
        )
        row = await self._pool.fetchrow(sql, *given)
        assert row is not None  # noqa: S101 - an aggregate has a row
        return Sample(**dict(row))

    @property
    def estimate(self) -> float:
        """How many applications there are, as of the last sample."""
        return self._estimate


_ESTIMATE = "SELECT reltuples FROM pg_class WHERE oid = 'registry.applications'::regclass"
_SAMPLE = """
WITH sample AS (
    SELECT a.{key} AS key, {first} AS is_first, {others} AS is_other
      FROM registry.applications a TABLESAMPLE system ({share})
), nearest AS (
    SELECT {nearest}(key) AS key FROM sample WHERE is_first AND is_other AND {on_way}
)
SELECT count(*)                                      AS size,
       count(*) FILTER (WHERE is_first)              AS first,
       count(*) FILTER (WHERE is_other)              AS others,
       count(*) FILTER (WHERE is_first AND is_other) AS both,
       count(*) FILTER (WHERE {on_way} AND (sample.key {before} nearest.key
                                             OR nearest.key IS NULL)) AS ahead
  FROM sample, nearest
"""
