"""The query of `GET /api/applications`: which, in which order, how many."""

from typing import Any

from starlette.requests import Request

from services.registry.directory import User
from services.registry.filters import BY_NAME, SORTS, STATUSES, Filter, Order
from shared.queries import (
    ID_OR_ANY,
    PAGE_QUERY,
    choice_of,
    flag,
    id_of,
    ids_of,
    moment_of,
    parameter_problem,
    query_of,
    text_of,
)

_MOMENT = {
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "maxLength": 0}],
}
_SORTS = [direction + one for one in SORTS for direction in ("", "-")]
LIST_QUERY: dict[str, dict[str, Any]] = {
    **PAGE_QUERY,
    "sort": {
        "type": "string",
        "enum": _SORTS,
        "default": "name",
        "description": "With - from the end: -last_used begins with the latest",
    },
    "name": {
        "type": "string",
        "maxLength": 255,
        "description": "A part of the name, without regard to case and accents",
    },
    "client_id": {"type": "string", "maxLength": 255},
    "active": {"type": "boolean", "description": "The switch, whatever the expiry"},
    "status": {
        "type": "string",
        "enum": list(STATUSES),
        "description": "`active` obtains tokens now; `expired` would, but for its expiry",
    },
    "owner": {**ID_OR_ANY, "description": "The owner's id"},
    "organization": {
        "type": "array",
        "items": ID_OR_ANY,
        "maxItems": 50,
        "description": "An organization's id; may be repeated",
    },
    "last_used_before": {**_MOMENT, "description": "Used, but not since"},
    "last_used_since": _MOMENT,
}


def list_query_of(request: Request) -> dict[str, str]:
    """Return the query's parameters, as the functions below take them. Raises Problem 400."""
    return query_of(request, *LIST_QUERY, repeatable=("organization",))


def filter_of(request: Request, query: dict[str, str], asker: User) -> Filter:
    """Return which applications are asked for. Raises Problem 400."""
    active = flag(query.get("active"), "active")
    status = choice_of(query.get("status"), "status", STATUSES)
    if active is not None and status is not None:
        raise parameter_problem("status", "Give active or status, not both.")
    before = moment_of(query.get("last_used_before"), "last_used_before")
    since = moment_of(query.get("last_used_since"), "last_used_since")
    if before is not None and since is not None and before <= since:
        raise parameter_problem("last_used_before", "Give a moment after last_used_since.")
    actor = asker.actor
    sees_all = actor.administrator and actor.has_global_access
    return Filter(
        visible_owner=None if sees_all else actor.user_id,
        visible_organizations=actor.organizations if actor.administrator else frozenset(),
        name=text_of(query.get("name"), "name"),
        client_id=text_of(query.get("client_id"), "client_id"),
        active=active,
        status=status,
        owner_id=id_of(query.get("owner"), "owner"),
        organization_ids=ids_of(request, "organization"),
        last_used_before=before,
        last_used_since=since,
    )


def order_of(query: dict[str, str]) -> Order:
    """Return the order that is asked for. Raises Problem 400."""
    text = choice_of(query.get("sort"), "sort", _SORTS)
    if text is None:
        return BY_NAME
    return Order(SORTS[SORTS.index(text.removeprefix("-"))], descending=text.startswith("-"))
