"""Lists of applications: filtered, sorted and paged, each page read from an index.

A sort order is a sequence of *walks*: stretches of an index that are read one after the other. A
walk may have several *strands*, which are read side by side and merged. Filters narrow every walk;
the planner decides by its statistics whether to walk or to collect what a rare filter finds. Of
parts of names it has no idea, since it takes the three letters in a row for independent: there a
sample decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal, get_args

import asyncpg
import msgspec

from services.registry.cursors import PAGE_LIMIT, InvalidCursor, cursor_of, place_of
from services.registry.name_search import key_of, query_of
from services.registry.samples import Samples, Way
from services.registry.views import SELECT_FROM, ApplicationView, view_of
from shared.postgres import Pool

# What it takes to look at an application, in microseconds: in the index that is walked, in the
# table, and collected by its name and sorted. Only their ratios matter.
IN_INDEX, IN_TABLE, COLLECTED = 0.15, 2.0, 4.0
Sort = Literal["name", "organization", "status", "created", "last_used"]
SORTS: tuple[Sort, ...] = get_args(Sort)
Status = Literal["active", "inactive", "expired"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which applications; None is any.

    `visible_owner` and `visible_organizations` are what the asker may see: the one's, or any of
    the others'. `active` is the switch alone, `status` what follows from it and from the expiry.
    """

    visible_owner: str | None = None
    visible_organizations: frozenset[str] | None = None
    name: str | None = None
    client_id: str | None = None
    active: bool | None = None
    status: Status | None = None
    owner_id: str | None = None
    organization_ids: frozenset[str] | None = None
    last_used_before: datetime | None = None
    last_used_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """By what, and in which direction. Names go from A, times from the earliest, active first."""

    by: Sort = "name"
    descending: bool = False


BY_NAME = Order()


@dataclass(frozen=True, slots=True)
class Walk:
    """A stretch of an index: its columns, and the strands that are merged into it."""

    keys: tuple[str, ...]
    strands: tuple[str, ...] = ("true",)


_NAME = ("name_key", "id")
_ACTIVE, _INACTIVE = "a.active", "NOT a.active"
_WALKS: Mapping[Sort, tuple[Walk, ...]] = {
    "name": (Walk(_NAME, (_ACTIVE, _INACTIVE)),),
    "organization": (Walk(("organization_key", *_NAME)),),
    "status": (Walk(_NAME, (_ACTIVE,)), Walk(_NAME, (_INACTIVE,))),
    "created": (Walk(("created_at", "id")),),
    "last_used": (
        Walk(("created_at", "id"), ("a.last_used_at IS NULL",)),
        Walk(("last_used_at", "id"), ("a.last_used_at IS NOT NULL",)),
    ),
}
_TYPES = {"created_at": "timestamptz", "last_used_at": "timestamptz", "id": "uuid"}
_BY_EXPIRY = {
    "active": "(a.expires_at IS NULL OR a.expires_at > now())",
    "expired": "a.expires_at <= now()",
}
_MOMENTS = ("created_at", "last_used_at")
# Walks whose index has the name, so that the table need not be looked at.
_WITH_NAMES = ("name_key", "organization_key")


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Which walk, and the keys of the last application that was shown."""

    walk: int
    keys: list[str]


class ApplicationLists:
    """Lists from the read model in Postgres."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._samples = Samples(pool)

    async def page(
        self, wanted: Filter, order: Order = BY_NAME, *, limit: int, cursor: str | None = None
    ) -> tuple[list[ApplicationView], str | None]:
        """Return a page and the cursor of the next one, if any. Raises InvalidCursor."""
        query = _identity(wanted, order)
        walks = walks_of(wanted, order)
        place = None if cursor is None else place_of(cursor, query, _Place)
        number = 0 if place is None else place.walk
        if not 0 <= number < len(walks):
            raise InvalidCursor("Give a next_cursor of this list, or none.")
        after = None if place is None else _values(place, walks[number])
        narrowed = await self.narrowed(wanted, walks[number], order, after)
        found: list[tuple[int, asyncpg.Record]] = []
        while number < len(walks) and len(found) <= limit:
            sql, values = statement(
                narrowed, walks[number], order, limit=limit + 1 - len(found), after=after
            )
            found += [(number, row) for row in await self._pool.fetch(sql, *values)]
            number, after = number + 1, None
        items = [view_of(row) for _, row in found[:limit]]
        if len(found) <= limit:
            return items, None
        last, row = found[limit - 1]
        keys = [_text(row[key]) for key in walks[last].keys]
        return items, cursor_of(query, _Place(last, keys))

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
            organization_keys=await self._keys_of(wanted.organization_ids),
            visible_organization_keys=await self._keys_of(wanted.visible_organizations),
        )
        if not narrowed.name_key:
            return narrowed
        values: list[Any] = []
        others = _conditions(narrowed, values)
        key = walk.keys[0]
        way = Way(
            key, _TYPES.get(key, "text"), None if after is None else after[0], order.descending
        )
        sample = await self._samples.take(_has_name(narrowed, values), others, values, way)
        if sample.size == 0:
            return replace(narrowed, collect_by_name=True)
        # Names that begin alike stand together: a walk by name may be long until it meets any.
        share = sample.both / sample.size
        met_after = self._samples.estimate * sample.ahead / sample.size
        walked = met_after + (PAGE_LIMIT / share if share else 0)
        is_in_index = key in _WITH_NAMES and all(one in (_ACTIVE, _INACTIVE) for one in others)
        walking = walked * (IN_INDEX if is_in_index else IN_TABLE)
        collecting = self._samples.estimate * sample.first / sample.size * COLLECTED
        # Where something else is rarer than the name, that is what the planner collects by.
        collect = sample.first <= sample.others and collecting < walking
        return replace(narrowed, collect_by_name=collect)

    async def _keys_of(self, organization_ids: frozenset[str] | None) -> list[str]:
        if not organization_ids:
            return []
        rows = await self._pool.fetch(_ORGANIZATION_KEYS, list(organization_ids))
        return [row["key"] for row in rows]


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A filter, and what the database says of it: the keys of its organizations, in their order."""

    wanted: Filter
    name_key: str = ""
    collect_by_name: bool = False
    organization_keys: Sequence[str] = ()
    visible_organization_keys: Sequence[str] = ()


def statement(
    narrowed: Narrowed,
    walk: Walk,
    order: Order,
    *,
    limit: int,
    after: Sequence[Any] | None = None,
) -> tuple[str, list[Any]]:
    """Return the SQL of a page of one walk, and its values. Only what is asked for stands in it."""
    values: list[Any] = []
    conditions = _conditions(narrowed, values)
    if narrowed.collect_by_name:
        values.append(query_of(narrowed.name_key))
        conditions.append(f"a.name_parts @@ ${len(values)}::text::tsquery")
    if narrowed.name_key:
        # Its parts may stand in another order, or apart from each other.
        conditions.append(_has_name(narrowed, values))
    if after is not None:
        places = []
        for key, value in zip(walk.keys, after, strict=True):
            values.append(value)
            places.append(f"${len(values)}::{_TYPES.get(key, 'text')}")
        comparison = "<" if order.descending else ">"
        columns = ", ".join(f"a.{key}" for key in walk.keys)
        conditions.append(f"({columns}) {comparison} ({', '.join(places)})")
    values.append(limit)
    bound = f"LIMIT ${len(values)}"
    direction = " DESC" if order.descending else ""
    by = ", ".join(key + direction for key in walk.keys)
    # Only what stands in the index: the rest is read for the rows of the page alone.
    strands = [
        f"(SELECT {', '.join(walk.keys)} FROM registry.applications a"  # noqa: S608 - constants of ours; what was asked for is in the values
        f" WHERE {' AND '.join([*conditions, strand])} ORDER BY {by} {bound})"
        for strand in _strands(narrowed.wanted, walk)
    ]
    page = f"SELECT * FROM ({' UNION ALL '.join(strands)}) AS strand ORDER BY {by} {bound}"  # noqa: S608 - likewise
    order_of_page = ", ".join(f"page.{key}{direction}" for key in walk.keys)
    return (
        f"WITH page AS MATERIALIZED ({page})"
        f" {SELECT_FROM} JOIN page ON page.id = a.id ORDER BY {order_of_page}"
    ), values


def _strands(wanted: Filter, walk: Walk) -> Sequence[str]:
    """Return the strands that a filter by activity leaves; one of them at least."""
    never = {True: _INACTIVE, False: _ACTIVE, None: None}[_switch(wanted)]
    return [strand for strand in walk.strands if strand != never] or ["false"]


def _switch(wanted: Filter) -> bool | None:
    if wanted.active is not None:
        return wanted.active
    return {"active": True, "inactive": False}.get(wanted.status or "")


def _conditions(narrowed: Narrowed, values: list[Any]) -> list[str]:
    """Return the conditions of a filter but the name; what they compare with goes to the values.

    Organizations are named by their keys, which the index has, and by their ids.
    """
    wanted = narrowed.wanted

    def put(value: Any) -> str:
        values.append(value)
        return f"${len(values)}"

    compared = [
        ("a.client_id = {}", wanted.client_id),
        ("a.owner_id = {}::uuid", wanted.owner_id),
        ("a.last_used_at < {}", wanted.last_used_before),
        ("a.last_used_at >= {}", wanted.last_used_since),
    ]
    conditions = [text.format(put(value)) for text, value in compared if value is not None]
    if wanted.organization_ids is not None:
        keys, ids = narrowed.organization_keys, sorted(wanted.organization_ids)
        conditions.append(_in_organizations(put(ids), [put(key) for key in keys]))
    if wanted.visible_owner is not None:
        visible = f"a.owner_id = {put(wanted.visible_owner)}::uuid"
        if wanted.visible_organizations:
            keys, ids = narrowed.visible_organization_keys, sorted(wanted.visible_organizations)
            also = _in_organizations(put(ids), [put(key) for key in keys])
            visible = f"({visible} OR {also})"
        conditions.append(visible)
    switch = _switch(wanted)
    if switch is not None:
        conditions.append(_ACTIVE if switch else _INACTIVE)
    if wanted.status in _BY_EXPIRY:
        conditions.append(_BY_EXPIRY[wanted.status])
    return conditions


def _has_name(narrowed: Narrowed, values: list[Any]) -> str:
    values.append(narrowed.name_key)
    return f"strpos(a.name_key, ${len(values)}) > 0"


def _in_organizations(ids: str, keys: Sequence[str]) -> str:
    # A single key is compared for itself: then the index has what is behind it in its order.
    named = f"= {keys[0]}" if len(keys) == 1 else f"IN ({', '.join(keys) or 'NULL'})"
    return f"(a.organization_key {named} AND a.organization_id = ANY ({ids}::uuid[]))"


def walks_of(wanted: Filter, order: Order) -> Sequence[Walk]:
    """Return what is read one after the other for a list."""
    walks = _WALKS[order.by]
    if order.by == "last_used" and (wanted.last_used_before or wanted.last_used_since):
        # Nothing that was never used is meant.
        walks = walks[1:]
    return walks[::-1] if order.descending else walks


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


# Also under those that a renamed one had: its applications get the new name one after the other.
_ORGANIZATION_KEYS = """
SELECT DISTINCT lower(known.name) AS key
  FROM registry.organizations o, unnest(array_append(o.former_names, o.name)) AS known (name)
 WHERE o.id = ANY ($1::uuid[])
"""
