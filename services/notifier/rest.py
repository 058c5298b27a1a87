"""`/api/notifications`: what was sent to whom, what was not, and what shall become of it."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from services.notifier.deliveries import Deliveries, Filter, Place, State
from shared.cursors import cursor_of, place_of
from shared.postgres import POSTGRES_ERRORS
from shared.problem import Problem
from shared.queries import (
    ID_OR_ANY,
    PAGE_QUERY,
    choice_of,
    id_of,
    limit_of,
    moment_of,
    query_of,
    text_of,
)
from shared.resource_server import BearerVerifier, Possession, ResourceServer
from shared.web import json_response
from shared.withdrawals import Withdrawals

READ, WRITE = "notifications:read", "notifications:write"
STATES: tuple[State, ...] = get_args(State)
_TEXT = {"type": "string", "maxLength": 255}
_MOMENT = {"type": "string", "examples": ["2026-11-30T12:00:00Z"]}
QUERY: Mapping[str, Mapping[str, Any]] = {
    **PAGE_QUERY,
    "state": {"type": "string", "enum": ["", *STATES]},
    "event_type": {**_TEXT, "examples": ["ApplicationCreated"]},
    "rule": _TEXT,
    "recipient": {**ID_OR_ANY, "description": "A user's id"},
    "application": {**ID_OR_ANY, "description": "An application's id"},
    "created_after": _MOMENT,
    "created_before": _MOMENT,
}


class NotificationView(msgspec.Struct, frozen=True, kw_only=True):
    """A mail that an event asked for. `recipient` is a user's id; the address is kept nowhere."""

    id: str
    state: State
    event_id: str
    event_type: str
    position: int
    rule: str
    template: str
    recipient: str
    application_id: str | None
    context: dict[str, str]
    message_id: str
    attempts: int
    unknown_outcomes: int
    last_error: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None


class NotificationPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of notifications, the newest first; without `next_cursor` it is the last."""

    items: list[NotificationView]
    next_cursor: str | None


class NotificationsApi:
    """The handlers of `/api/notifications`. `on_due` is told when something is to be sent now."""

    def __init__(self, deliveries: Deliveries, on_due: Callable[[], None]) -> None:
        self._deliveries = deliveries
        self._on_due = on_due

    async def list_notifications(self, request: Request) -> Response:
        """Return a page of the notifications, the newest first."""
        query = query_of(request, *QUERY)
        wanted = Filter(
            state=choice_of(query.get("state"), "state", STATES),
            event_type=text_of(query.get("event_type"), "event_type"),
            rule=text_of(query.get("rule"), "rule"),
            recipient=id_of(query.get("recipient"), "recipient"),
            application=id_of(query.get("application"), "application"),
            created_after=moment_of(query.get("created_after"), "created_after"),
            created_before=moment_of(query.get("created_before"), "created_before"),
        )
        limit = limit_of(query)
        cursor = query.get("cursor")
        after = None if cursor is None else place_of(cursor, wanted, Place)
        rows = await self._deliveries.page(wanted, limit + 1, after=after)
        items = [view_of(row) for row in rows[:limit]]
        next_cursor = None
        if len(rows) > limit:
            next_cursor = cursor_of(wanted, (items[-1].created_at, items[-1].id))
        return json_response(NotificationPage(items=items, next_cursor=next_cursor))

    async def show_notification(self, request: Request) -> Response:
        """Return one notification."""
        return json_response(await self._found(_id_of(request)))

    async def retry_notification(self, request: Request) -> Response:
        """Send it now, also one that was parked, suppressed, expired or discarded."""
        answer = await self._changed(request, self._deliveries.retry)
        self._on_due()
        return answer

    async def discard_notification(self, request: Request) -> Response:
        """Give up one that was not sent."""
        return await self._changed(request, self._deliveries.discard)

    async def _changed(
        self, request: Request, change: Callable[[uuid.UUID], Awaitable[bool]]
    ) -> Response:
        delivery_id = _id_of(request)
        changed = await change(delivery_id)
        found = await self._found(delivery_id)
        if not changed:
            reason = "It is being sent." if found.state == "sending" else "It was sent."
            raise Problem(409, f"{reason} There is nothing to change.")
        return json_response(found)

    async def _found(self, delivery_id: uuid.UUID) -> NotificationView:
        row = await self._deliveries.find(delivery_id)
        if row is None:
            raise _not_found()
        return view_of(row)


def api_routes(
    api: NotificationsApi,
    *,
    verifier: BearerVerifier,
    possession: Possession,
    withdrawals: Withdrawals,
) -> Mount:
    """Return the API behind the check of access tokens."""
    one = "/notifications/{id}"
    routes = [
        Route("/notifications", _guarded(api.list_notifications), methods=["GET"]),
        Route(one, _guarded(api.show_notification), methods=["GET"]),
        Route(one + "/retry", _guarded(api.retry_notification), methods=["POST"]),
        Route(one + "/discard", _guarded(api.discard_notification), methods=["POST"]),
    ]
    protected = ResourceServer(
        Router(routes),
        verifier=verifier,
        possession=possession,
        withdrawals=withdrawals,
        scope_of=lambda method, _path: READ if method in ("GET", "HEAD") else WRITE,
    )
    return Mount("/api", app=protected)


def view_of(row: Mapping[str, Any]) -> NotificationView:
    """Return a delivery as REST and command line show it."""
    finished = row["finished_at"] is not None
    return NotificationView(**{**row, **({"next_attempt_at": None} if finished else {})})


def _guarded(
    handler: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Return a handler that answers 503 while the database does not."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except POSTGRES_ERRORS:
            raise Problem(
                503,
                "The notifier's database does not answer at the moment. Please try again.",
                headers={"Retry-After": "1"},
            ) from None

    return guarded


def _id_of(request: Request) -> uuid.UUID:
    try:
        return uuid.UUID(request.path_params["id"])
    except ValueError:
        raise _not_found() from None


def _not_found() -> Problem:
    return Problem(404, "There is no such notification.")
