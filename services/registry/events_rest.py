"""`GET /api/events`: the public feed, for systems that follow what happens."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.registry.callers import Callers
from services.registry.event_stream import (
    MEDIA_TYPE,
    EventStreams,
    Place,
    last_event_id,
    wants_stream,
)
from services.registry.feed import Feed
from services.registry.operations import CLOUDEVENTS, Operation
from services.registry.permissions import EVENTS_READ
from shared.envelope import CLOUDEVENTS_BATCH_MEDIA_TYPE, to_cloudevent
from shared.queries import LOG_LIMIT, query_of, seconds, whole
from shared.web import NO_STORE, json_response

FEED_LIMIT = 1000
FEED_WAIT_SECONDS = 30.0

_FEED_QUERY: dict[str, dict[str, Any]] = {
    "after": {"type": "integer", "minimum": 0, "maximum": LOG_LIMIT, "default": 0},
    "limit": {"type": "integer", "minimum": 1, "maximum": FEED_LIMIT, "default": 100},
    "wait": {
        "type": "number",
        "minimum": 0,
        "maximum": FEED_WAIT_SECONDS,
        "description": "Seconds to wait for an event when there is none",
    },
}


class EventsApi:
    """The handler of `/api/events`."""

    def __init__(self, *, feed: Feed, streams: EventStreams, callers: Callers, source: str) -> None:
        self._feed = feed
        self._streams = streams
        self._callers = callers
        self._source = source

    @property
    def operations(self) -> list[Operation]:
        """Return what is served, as the router and the OpenAPI document need it."""
        return [
            Operation(
                method="GET",
                path="/api/events",
                handler=self.events,
                scope=EVENTS_READ,
                answer=CLOUDEVENTS,
                answer_type=CLOUDEVENTS_BATCH_MEDIA_TYPE,
                stream_type=MEDIA_TYPE,
                refusals=[409],
                query=_FEED_QUERY,
            ),
        ]

    async def events(self, request: Request) -> Response:
        """Return the public feed: CloudEvents after a position, with a long poll.

        With `Accept: text/event-stream`: as Server-Sent Events, without end.
        """
        query = query_of(request, "after", "limit", "wait")
        if wants_stream(request) and request.method == "GET":
            return await self._stream(request, query)
        page = await self._feed.page(
            whole(query, "after", 0, least=0, most=LOG_LIMIT),
            whole(query, "limit", 100, least=1, most=FEED_LIMIT),
            seconds(query, "wait", most=FEED_WAIT_SECONDS),
        )
        events = [
            to_cloudevent(one, log_epoch=page.log_epoch, source=self._source)
            for one in page.envelopes
        ]
        return json_response(
            events,
            media_type=CLOUDEVENTS_BATCH_MEDIA_TYPE,
            headers={"Log-Epoch": page.log_epoch, "Log-Head": str(page.head), **NO_STORE},
        )

    async def _stream(self, request: Request, query: dict[str, str]) -> Response:
        place = last_event_id(request) or Place(whole(query, "after", 0, least=0, most=LOG_LIMIT))

        async def allowed() -> None:
            await self._callers.again(request)

        content = await self._streams.open(place, allowed)
        return StreamingResponse(
            content, media_type=MEDIA_TYPE, headers={**NO_STORE, "X-Accel-Buffering": "no"}
        )
