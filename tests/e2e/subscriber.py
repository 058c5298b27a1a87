"""A stranger who subscribes: plain aio-pika, a durable queue, nothing of our code."""

import json
import uuid
from types import TracebackType
from typing import Any, Self

import aio_pika

EXCHANGE = "oauthapps.events"
EXPIRES_MILLISECONDS = 600_000


class Subscriber:
    """Collects what the public exchange carries, bytes and parsed."""

    def __init__(self, amqp_url: str, *, prefix: str = "stranger") -> None:
        """The prefix begins the name of its queue: `subscriber` may have no other."""
        self._url = amqp_url
        # Of its own, since a broker that is given outlives the test, and so does the queue.
        self._queue = f"{prefix}.{uuid.uuid4().hex}"
        self.bodies: list[bytes] = []
        self.keys: list[str] = []
        self.content_types: list[str | None] = []

    async def __aenter__(self) -> Self:
        self._connection = await aio_pika.connect(self._url, timeout=10)
        channel = await self._connection.channel()
        queue = await channel.declare_queue(
            self._queue, durable=True, arguments={"x-expires": EXPIRES_MILLISECONDS}
        )
        await queue.bind(EXCHANGE, "#")
        await queue.consume(self._take)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connection.close()

    async def _take(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self.bodies.append(message.body)
        self.keys.append(message.routing_key or "")
        self.content_types.append(message.content_type)
        await message.ack()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return the events in the order of the log, repeats left out."""
        by_position = {one["sequence"]: one for one in map(json.loads, self.bodies)}
        return [by_position[position] for position in sorted(by_position)]

    def types_of(self, application_id: str) -> list[str]:
        """Return what happened to one application."""
        return [
            one["type"].split(".")[1] for one in self.events if one["subject"] == application_id
        ]
