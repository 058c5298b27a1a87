"""Lists of applications: filtered, sorted and paged, each page read from an index.

Of parts of names the planner has no idea, since it takes the three letters in a row for
independent: there a sample decides whether to walk or to collect (`list_statements`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from services.registry.filters import BY_NAME, Filter, Order
from services.registry.list_statements import (
    IN_INDEXES,
    TYPES,
    Narrowed,
    Values,
    Walk,
    conditions_of,
    has_name_of,
    statement,
    walks_of,
)
from services.registry.name_search import key_of
from services.registry.samples import Samples, Way
from services.registry.views import ApplicationView, view_of
from shared.cursors import PAGE_LIMIT, InvalidCursor, cursor_of, place_of
from shared.postgres import Pool

# What it takes to look at an application, in microseconds: in the index that is walked, in the
# table, and collected by its name and sorted. Only their ratios matter.
IN_INDEX, IN_TABLE, COLLECTED = 0.15, 2.0, 4.0
# An owner who has no more has them collected: that takes a few milliseconds at most.
OWNED = 5000
_MOMENTS = ("created_at", "last_used_at")
# Walks whose index has the name, so that the table need not be looked at.
_WITH_NAMES = ("name_key", "organization_key")


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Which walk, the keys of an application on it, and whether to go on backwards from there."""

    walk: int
    keys: list[str]
    backwards: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a list, and the cursors of the pages beside it, if there are any."""

    items: list[ApplicationView]
    next_cursor: str | None = None
    previous_cursor: str | None = None


class ApplicationLists:
    """Lists from the read model in Postgres."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._samples = Samples(pool)

    async def page(
        self, wanted: Filter, order: Order = BY_NAME, *, limit: int, cursor: str | None = None
    ) -> tuple[list[ApplicationView], str | None]:
        """Return a page and the cursor of the next one, if any. Raises InvalidCursor."""
        found = await self.page_between(wanted, order, limit=limit, cursor=cursor)
        return found.items, found.next_cursor

    async def page_between(
        self, wanted: Filter, order: Order = BY_NAME, *, limit: int, cursor: str | None = None
    ) -> Page:
        """Return a page and the cursors of those beside it. Raises InvalidCursor."""
        query = _identity(wanted, order)
        place = None if cursor is None else place_of(cursor, query, _Place)
        backwards = place is not None and place.backwards
        way = replace(order, descending=order.descending != backwards)
        walks = walks_of(wanted, way)
        number = 0 if place is None else place.walk
        if not 0 <= number < len(walks):
            raise InvalidCursor("Give a next_cursor of this list, or none.")
        if backwards:
            number = len(walks) - 1 - number
        after = None if place is None else _values(place, walks[number])
        narrowed = await self.narrowed(wanted, walks[number], way, after)
        found: list[tuple[int, asyncpg.Record]] = []
        while number < len(walks) and len(found) <= limit:
            sql, values = statement(
                narrowed, walks[number], way, limit=limit + 1 - len(found), after=after
            )
            found += [(number, row) for row in await self._pool.fetch(sql, *values)]
            number, after = number + 1, None
        goes_on = len(found) > limit
        if backwards and not goes_on:
            # The first page is a whole one, whatever was removed or added meanwhile.
            return await self.page_between(wanted, order, limit=limit)
        found = found[:limit]
        if backwards:
            found = [(len(walks) - 1 - at, row) for at, row in reversed(found)]
            walks = walks[::-1]

        def beside(at: int, row: asyncpg.Record, *, backwards: bool = False) -> str:
            keys = [_text(row[key]) for key in walks[at].keys]
            return cursor_of(query, _Place(at, keys, backwards))

        return Page(
            items=[view_of(row) for _, row in found],
            next_cursor=beside(*found[-1]) if found and (goes_on or backwards) else None,
            previous_cursor=beside(*found[0], backwards=True) if found and place else None,
        )

    async def narrowed(
        self,
        wanted: Filter,
        walk: Walk,
        order: Order,
        after: Sequence[Any] | None = None,
    ) -> "Narrowed":
        """Look up what the SQL of a filter depends on, for a page on a walk."""
        narrowed = Narrowed(
            wanted,
            name_key=key_of(wanted.name or ""),
            collect_by_owner=await self._has_few(wanted.only_owner),
            organization_keys=await self._keys_of(wanted.organization_ids),
            visible_organization_keys=await self._keys_of(wanted.visible_organizations),
        )
        if not narrowed.name_key or narrowed.collect_by_owner:
            return narrowed
        values = Values()
        others = conditions_of(narrowed, values)
        key = walk.keys[0]
        way = Way(
            key, TYPES.get(key, "text"), None if after is None else after[0], order.descending
        )
        sample = await self._samples.take(has_name_of(narrowed, walk, values), others, values, way)
        if sample.size == 0:
            return replace(narrowed, collect_by_name=True)
        # What has the name may stand together: a walk may be long until it meets any.
        share = sample.both / sample.size
        met_after = self._samples.estimate * sample.ahead / sample.size
        walked = met_after + (PAGE_LIMIT / share if share else 0)
        is_in_index = key in _WITH_NAMES and all(one in IN_INDEXES for one in others)
        walking = walked * (IN_INDEX if is_in_index else IN_TABLE)
        collecting = self._samples.estimate * sample.first / sample.size * COLLECTED
        # Where something else is rarer than the name, that is what the planner collects by.
        collect = sample.first <= sample.others and collecting < walking
        return replace(narrowed, collect_by_name=collect)

    async def _has_few(self, owner_id: str | None) -> bool:
        if owner_id is None:
            return False
        owned: int = await self._pool.fetchval(_OWNED, owner_id, OWNED + 1)
        return owned <= OWNED

    async def _keys_of(self, organization_ids: frozenset[str] | None) -> list[str]:
        if not organization_ids:
            return []
        rows = await self._pool.fetch(_ORGANIZATION_KEYS, list(organization_ids))
        return [row["key"] for row in rows]


def _identity(wanted: Filter, order: Order) -> dict[str, Any]:
    """Return what makes a query the same; a cursor is good for that alone."""
    members = {one.name: getattr(wanted, one.name) for one in fields(wanted)}
    sets = {name: sorted(value) for name, value in members.items() if isinstance(value, frozenset)}
    return {**members, **sets, "by": order.by, "descending": order.descending}


def _values(place: _Place, walk: Walk) -> list[Any]:
    """Return the keys to go on from. Raises InvalidCursor."""
    if len(place.keys) != len(walk.keys) or any("\0" in key for key in place.keys):
        raise InvalidCursor("Give a next_cursor of this list, or none.")
    try:
        return [
            msgspec.convert(value, datetime if key in _MOMENTS else str)
            for key, value in zip(walk.keys, place.keys, strict=True)
        ]
    except msgspec.ValidationError:
        raise InvalidCursor("Give a next_cursor of this list, or none.") from None


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


_OWNED = """
SELECT count(*) FROM (SELECT FROM registry.applications WHERE owner_id = $1::uuid LIMIT $2) AS few
"""
# Also under those that a renamed one had: its applications get the new name one after the other.
_ORGANIZATION_KEYS = """
SELECT DISTINCT lower(known.name) AS key
  FROM registry.organizations o, unnest(array_append(o.former_names, o.name)) AS known (name)
 WHERE o.id = ANY ($1::uuid[])
"""
