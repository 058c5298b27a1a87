"""`GET /api/directory/audit`: who changed what in the directory, and when."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.registry.administrators import READ, administrator
from services.registry.creation import Forbidden
from services.registry.directory_audit import Audit, AuditPage
from services.registry.directory_changes import ABOVE
from services.registry.operations import Operation
from services.registry.permissions import rules_all
from shared.queries import (
    ID_OR_ANY,
    LOG_LIMIT,
    PAGE_QUERY,
    id_of,
    limit_of,
    query_of,
    whole,
)
from shared.web import NO_STORE, json_response

_PAGE_QUERY: dict[str, dict[str, Any]] = {
    "after": {"type": "integer", "minimum": 0, "maximum": LOG_LIMIT, "default": 0},
    "limit": PAGE_QUERY["limit"],
    "subject": {**ID_OR_ANY, "description": "A user's or organization's id"},
}


class DirectoryAuditApi:
    """The handler of `/api/directory/audit`."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    @property
    def operations(self) -> list[Operation]:
        """Return what is served, as the router and the OpenAPI document need it."""
        return [
            Operation(
                method="GET",
                path="/api/directory/audit",
                handler=self.directory_audit,
                scope=READ,
                answer=AuditPage,
                query=_PAGE_QUERY,
            )
        ]

    async def directory_audit(self, request: Request) -> Response:
        """Return what was changed in the directory after an entry, oldest first."""
        by = administrator(request)
        if not rules_all(by.rights):
            raise Forbidden(ABOVE)
        query = query_of(request, *_PAGE_QUERY)
        items, after = await self._audit.page(
            after=whole(query, "after", 0, least=0, most=LOG_LIMIT),
            limit=limit_of(query),
            subject_id=id_of(query.get("subject"), "subject"),
        )
        page = AuditPage(items=items, next_cursor=None if after is None else str(after))
        return json_response(page, headers=NO_STORE)
