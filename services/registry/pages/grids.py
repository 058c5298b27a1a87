"""The grid of applications: what the address of a page asks for, and where its links lead."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from starlette.requests import Request

from services.registry.directory import Directory, Organization, UserUnknown
from services.registry.filters import Filter, Order, Sort
from services.registry.list_queries import filter_of, order_of
from services.registry.lists import ApplicationLists
from services.registry.pages.visits import Visit
from services.registry.views import ApplicationView
from shared.cursors import InvalidCursor
from shared.queries import query_of

ROWS = 25
# More organizations than these are not listed to choose from, but named.
LISTED = 25
STATUSES: Mapping[str, str] = {"active": "Active", "inactive": "Inactive", "expired": "Expired"}
PARAMETERS = ("name", "organization", "of", "status", "owner", "sort", "cursor", "open")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A heading by which the grid is sorted; `direction` is none, ascending or descending."""

    label: str
    href: str
    direction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A page of applications, and what stands around it."""

    path: str
    items: Sequence[ApplicationView]
    columns: Mapping[str, Column]
    filters: Mapping[str, str]
    chosen: frozenset[str]
    organizations: Sequence[Organization]
    has_many_organizations: bool
    is_filtered: bool
    first: str | None
    previous: str | None
    next: str | None
    here: str

    @property
    def statuses(self) -> Mapping[str, str]:
        """What the filter by status offers."""
        return STATUSES


_LABELS: Mapping[Sort, str] = {
    "organization": "Organization",
    "name": "Application Name",
    "status": "Active",
    "last_used": "Last used",
    "created": "Created",
}


class Grids:
    """Makes grids."""

    def __init__(self, lists: ApplicationLists, directory: Directory) -> None:
        self._lists = lists
        self._directory = directory

    async def own(self, request: Request, visit: Visit) -> Grid:
        """Return the user's own applications, where they are at work. Raises Problem 400."""
        query = query_of(request, *PARAMETERS, repeatable=("organization",))
        wanted = filter_of(request, query, visit.user)
        places = frozenset(one.id for one in visit.choices)
        if not places and visit.organization is not None:
            places = frozenset({visit.organization.id})
        chosen = (wanted.organization_ids or places) & places
        wanted = replace(wanted, owner_id=visit.user.id, organization_ids=chosen or places)
        return await self._grid(request, query, wanted, visit.choices)

    async def everyones(self, request: Request, visit: Visit) -> Grid:
        """Return those of everybody whom an administrator is over. Raises Problem 400."""
        query = query_of(request, *PARAMETERS, repeatable=("organization",))
        owner = query.pop("owner", None)
        wanted = filter_of(request, query, visit.user)
        if owner is not None:
            try:
                wanted = replace(wanted, owner_id=(await self._directory.user(owner)).id)
            except UserUnknown:
                # Nobody has this address: nothing is found, as with a name nobody has.
                wanted = replace(wanted, owner_id=_NOBODY)
            query["owner"] = owner
        organizations = (
            await self._directory.organizations()
            if visit.user.actor.has_global_access
            else visit.organizations
        )
        if "of" in query:
            part = query["of"].casefold()
            ids = {one.id for one in organizations if part in one.name.casefold()}
            wanted = replace(wanted, organization_ids=frozenset(ids) or frozenset({_NOBODY}))
        return await self._grid(request, query, wanted, organizations)

    async def _grid(
        self,
        request: Request,
        query: dict[str, str],
        wanted: Filter,
        organizations: Sequence[Organization],
    ) -> Grid:
        chosen = [one for one in request.query_params.getlist("organization") if one]
        kept: list[tuple[str, str]] = [
            (key, query[key]) for key in ("name", "of", "status", "owner") if key in query
        ]
        kept += [("organization", one) for one in chosen]
        sort = query.get("sort")
        path = request.url.path

        def link(**changed: str) -> str:
            pairs = [*kept, *({"sort": sort, **changed} if sort else changed).items()]
            return f"{path}?{urlencode(pairs)}" if pairs else path

        cursor = query.get("cursor")
        order = order_of(query)
        try:
            page = await self._lists.page_between(wanted, order, limit=ROWS, cursor=cursor)
        except InvalidCursor:
            # An old link, or the user moved to another organization: begin with the first page.
            cursor = None
            page = await self._lists.page_between(wanted, order, limit=ROWS)
        return Grid(
            path=path,
            items=page.items,
            columns={by: _column(by, label, order, link) for by, label in _LABELS.items()},
            filters={key: query.get(key, "") for key in ("name", "of", "status", "owner", "sort")},
            chosen=frozenset(chosen),
            organizations=organizations if len(organizations) <= LISTED else [],
            has_many_organizations=len(organizations) > LISTED,
            is_filtered=bool(kept),
            first=None if cursor is None else link(),
            previous=page.previous_cursor and link(cursor=page.previous_cursor),
            next=page.next_cursor and link(cursor=page.next_cursor),
            here=link() if cursor is None else link(cursor=cursor),
        )


def _column(by: Sort, label: str, order: Order, link: Callable[..., str]) -> Column:
    if order.by != by:
        return Column(label=label, href=link(sort=by), direction="none")
    other = by if order.descending else f"-{by}"
    direction = "descending" if order.descending else "ascending"
    return Column(label=label, href=link(sort=other), direction=direction)


_NOBODY = "00000000-0000-0000-0000-000000000000"
