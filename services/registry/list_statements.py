"""The SQL of lists of applications.

A sort order is a sequence of *walks*: stretches of an index that are read one after the other. A
walk may have several *strands*, which are read side by side and merged. Filters narrow every
strand; the planner decides by its statistics whether to walk or to collect what a rare filter
finds, unless it is known better (`Narrowed`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.registry.filters import Filter, Order, Sort
from services.registry.name_search import query_of
from services.registry.views import SELECT_FROM


@dataclass(frozen=True, slots=True)
class Walk:
    """A stretch of an index: its columns, and the strands that are merged into it."""

    keys: tuple[str, ...]
    strands: tuple[str, ...] = ("true",)

    @property
    def is_by_name(self) -> bool:
        """Tell whether names that begin alike stand together in it."""
        return self.keys == _NAME


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A filter, and what the database says of it.

    With `collect_by_name` what contains the name is collected and sorted, with `collect_by_owner`
    all that the owner has; otherwise the planner is free. The keys are the organizations', which
    an index has in their order.
    """

    wanted: Filter
    name_key: str = ""
    collect_by_name: bool = False
    collect_by_owner: bool = False
    organization_keys: Sequence[str] = ()
    visible_organization_keys: Sequence[str] = ()


ACTIVE, INACTIVE = "a.active", "NOT a.active"
TYPES = {"created_at": "timestamptz", "last_used_at": "timestamptz", "id": "uuid"}
_NAME = ("name_key", "id")
_WALKS: Mapping[Sort, tuple[Walk, ...]] = {
    "name": (Walk(_NAME, (ACTIVE, INACTIVE)),),
    "organization": (Walk(("organization_key", *_NAME)),),
    "status": (Walk(_NAME, (ACTIVE,)), Walk(_NAME, (INACTIVE,))),
    "created": (Walk(("created_at", "id")),),
    "last_used": (
        Walk(("created_at", "id"), ("a.last_used_at IS NULL",)),
        Walk(("last_used_at", "id"), ("a.last_used_at IS NOT NULL",)),
    ),
}
_BY_EXPIRY = {
    "active": "(a.expires_at IS NULL OR a.expires_at > now())",
    "expired": "a.expires_at <= now()",
}
# Conditions that an index with names decides, without a look at the table.
IN_INDEXES = frozenset({ACTIVE, INACTIVE, *_BY_EXPIRY.values()})
_TABLE = "registry.applications a"
# No name goes on with it: a code point that is no character.
_LAST = chr(0x10FFFF)


def walks_of(wanted: Filter, order: Order) -> Sequence[Walk]:
    """Return what is read one after the other for a list."""
    walks = _WALKS[order.by]
    if order.by == "last_used" and (wanted.last_used_before or wanted.last_used_since):
        # Nothing that was never used is meant.
        walks = walks[1:]
    return walks[::-1] if order.descending else walks


def statement(
    narrowed: Narrowed,
    walk: Walk,
    order: Order,
    *,
    limit: int,
    after: Sequence[Any] | None = None,
) -> tuple[str, list[Any]]:
    """Return the SQL of a page of one walk, and its values. Only what is asked for stands in it."""
    values = Values()
    conditions = conditions_of(narrowed, values)
    strands = _strands(narrowed, walk, order, after, values)
    direction = " DESC" if order.descending else ""
    by = ", ".join(key + direction for key in walk.keys)
    bound = f"LIMIT {values.put(limit)}"
    # Only what stands in the index: the rest is read for the rows of the page alone.
    parts = [
        f"(SELECT {', '.join(walk.keys)} FROM {source}"  # noqa: S608 - constants of ours; what was asked for is in the values
        f" WHERE {' AND '.join([*conditions, *strand])} ORDER BY {by} {bound})"
        for source, strand in strands
    ]
    page = f"SELECT * FROM ({' UNION ALL '.join(parts)}) AS strand ORDER BY {by} {bound}"  # noqa: S608 - likewise
    order_of_page = ", ".join(f"page.{key}{direction}" for key in walk.keys)
    return (
        f"WITH page AS MATERIALIZED ({page})"
        f" {SELECT_FROM} JOIN page ON page.id = a.id ORDER BY {order_of_page}"
    ), list(values)


class Values(list[Any]):
    """What the placeholders of a statement stand for."""

    def put(self, value: Any) -> str:
        """Return the placeholder of one more."""
        self.append(value)
        return f"${len(self)}"


def _strands(
    narrowed: Narrowed, walk: Walk, order: Order, after: Sequence[Any] | None, values: Values
) -> list[tuple[str, list[str]]]:
    """Return from where each strand that is left of a walk is read, and its conditions.

    What begins with the name that is looked for is a stretch of an index by name. What has it
    elsewhere is walked or collected; it may be rare, however many begin with it.
    """
    wanted = narrowed.wanted
    never = {True: INACTIVE, False: ACTIVE, None: None}[wanted.switch]
    strands = [[one] for one in walk.strands if one != never] or [["false"]]
    source = _TABLE
    if narrowed.collect_by_owner:
        source = _collected(f"a.owner_id = {values.put(wanted.only_owner)}::uuid")
    goes_on = [] if after is None else [_goes_on(walk, order, after, values)]
    if not narrowed.name_key:
        return [(source, one + goes_on) for one in strands]
    has_name = [has_name_of(narrowed, walk, values), *goes_on]
    if narrowed.collect_by_name:
        query = values.put(query_of(narrowed.name_key, after_beginning=walk.is_by_name))
        # The strands of a walk are all there is: it is collected once, not for each.
        left = strands[0] if len(strands) == 1 else []
        collected = _collected(f"a.name_parts @@ {query}::text::tsquery")
        found = [(collected, left + has_name)]
    else:
        found = [(source, one + has_name) for one in strands]
    if walk.is_by_name:
        bounds = [*_stretch(narrowed, values)]
        if after is not None and _is_within(narrowed, order, after[0]):
            # An index is entered by a single bound: the nearer one.
            bounds[order.descending] = goes_on[0]
        found += [(source, one + bounds) for one in strands]
    return found


def _goes_on(walk: Walk, order: Order, after: Sequence[Any], values: Values) -> str:
    places = [
        f"{values.put(value)}::{TYPES.get(key, 'text')}"
        for key, value in zip(walk.keys, after, strict=True)
    ]
    columns = ", ".join(f"a.{key}" for key in walk.keys)
    return f"({columns}) {'<' if order.descending else '>'} ({', '.join(places)})"


def _is_within(narrowed: Narrowed, order: Order, name_key: str) -> bool:
    """Tell whether a walk by name has entered the stretch that begins with what is looked for."""
    # Texts compare here as in the C collation of the keys: by code points.
    if order.descending:
        return name_key < narrowed.name_key + _LAST
    return name_key >= narrowed.name_key


def _collected(condition: str) -> str:
    # OFFSET keeps the planner from looking for these along the walk.
    return f"(SELECT * FROM {_TABLE} WHERE {condition} OFFSET 0) a"  # noqa: S608 - likewise


def conditions_of(narrowed: Narrowed, values: Values) -> list[str]:
    """Return the conditions of a filter but the name; what they compare with goes to the values.

    Organizations are named by their keys, which the index has, and by their ids.
    """
    wanted = narrowed.wanted
    compared = [
        ("a.client_id = {}", wanted.client_id),
        ("a.owner_id = {}::uuid", wanted.owner_id),
        ("a.last_used_at < {}", wanted.last_used_before),
        ("a.last_used_at >= {}", wanted.last_used_since),
    ]
    conditions = [text.format(values.put(value)) for text, value in compared if value is not None]
    if wanted.organization_ids is not None:
        keys, ids = narrowed.organization_keys, sorted(wanted.organization_ids)
        conditions.append(_in_organizations(keys, ids, values))
    if wanted.visible_owner is not None:
        visible = f"a.owner_id = {values.put(wanted.visible_owner)}::uuid"
        if wanted.visible_organizations:
            keys, ids = narrowed.visible_organization_keys, sorted(wanted.visible_organizations)
            visible = f"({visible} OR {_in_organizations(keys, ids, values)})"
        conditions.append(visible)
    if wanted.switch is not None:
        conditions.append(ACTIVE if wanted.switch else INACTIVE)
    if wanted.status in _BY_EXPIRY:
        conditions.append(_BY_EXPIRY[wanted.status])
    return conditions


def has_name_of(narrowed: Narrowed, walk: Walk, values: Values) -> str:
    """Return the condition that the name is in it, on a walk by name elsewhere than in front."""
    # Its parts may stand in another order, or apart from each other.
    contains = f"strpos(a.name_key, {values.put(narrowed.name_key)}) > 0"
    if not walk.is_by_name:
        return contains
    return f"{contains} AND NOT ({' AND '.join(_stretch(narrowed, values))})"


def _stretch(narrowed: Narrowed, values: Values) -> tuple[str, str]:
    """Return from where to where names begin with what is looked for."""
    first = values.put(narrowed.name_key)
    return f"a.name_key >= {first}", f"a.name_key < {first} || '{_LAST}'"


def _in_organizations(keys: Sequence[str], ids: Sequence[str], values: Values) -> str:
    # A single key is compared for itself: then the index has what is behind it in its order.
    named = [values.put(key) for key in keys]
    is_named = f"= {named[0]}" if len(named) == 1 else f"IN ({', '.join(named) or 'NULL'})"
    of_them = f"a.organization_id = ANY ({values.put(ids)}::uuid[])"
    return f"(a.organization_key {is_named} AND {of_them})"
