"""A foreign subscriber: prints every event of the log, each exactly once and in order.

    pip install aio-pika httpx
    export CLIENT_ID=… CLIENT_SECRET=…      # of an application with the scope events:read
    python subscriber.py --amqp-url amqp://guest:guest@localhost/

It owns a cursor: the log's epoch and the position of the last event it has dealt with. What the bus
brings at or below the cursor is dropped, the next position is taken, a gap is filled from the
registry's feed. So a lost, repeated or reordered message costs time and nothing else.
"""
# ruff: noqa: INP001 - a script that stands alone, in no package

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aio_pika
import httpx
from aio_pika.abc import AbstractIncomingMessage

EXCHANGE = "oauthapps.events"
# Ours alone: two programs that share a queue share its messages, and neither has them all.
QUEUE = "subscriber.example"
UNACKNOWLEDGED = 100
KEPT = 10_000
PAGE = 1000
# A lost message with no successor shows in no gap: this often the feed is asked as well.
HEAD_CHECK_SECONDS = 10.0
RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Cursor:
    """The last event dealt with, and in which history; no epoch: none has been read yet."""

    log_epoch: str | None = None
    position: int = 0


class Feed:
    """`GET /api/events`, with an access token that is renewed before it expires."""

    def __init__(self, registry: str, token_endpoint: str, credentials: tuple[str, str]) -> None:
        self._events = f"{registry}/api/events"
        self._token_endpoint = token_endpoint
        self._credentials = credentials
        self._token = ""
        self._renew_at = 0.0
        self._http = httpx.AsyncClient(timeout=30.0)

    async def read(self, after: int) -> tuple[str, int, list[dict[str, Any]]]:
        """Return the log's epoch, its head, and the events after a position. Raises HTTPError."""
        headers = {"Authorization": f"Bearer {await self._access_token()}"}
        parameters = {"after": after, "limit": PAGE}
        answer = await self._http.get(self._events, params=parameters, headers=headers)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            # Its signing key may have been replaced: the next try takes a new one.
            self._renew_at = 0.0
        answer.raise_for_status()
        return answer.headers["Log-Epoch"], int(answer.headers["Log-Head"]), answer.json()

    async def _access_token(self) -> str:
        if time.monotonic() > self._renew_at:
            grant = {"grant_type": "client_credentials", "scope": "events:read"}
            answer = await self._http.post(self._token_endpoint, data=grant, auth=self._credentials)
            answer.raise_for_status()
            self._token = answer.json()["access_token"]
            self._renew_at = time.monotonic() + answer.json()["expires_in"] * 0.9
        return self._token


class Subscriber:
    """The cursor, and what is done with an event."""

    def __init__(self, feed: Feed, state: Path) -> None:
        self._feed = feed
        self._state = state
        self._cursor = Cursor(**json.loads(state.read_text())) if state.exists() else Cursor()

    async def receive(self, event: dict[str, Any]) -> None:
        """Deal with what the bus brought."""
        is_of_this_history = event["logepoch"] == self._cursor.log_epoch
        if is_of_this_history and event["sequence"] <= self._cursor.position:
            return
        if is_of_this_history and event["sequence"] == self._cursor.position + 1:
            self._apply(event)
            return
        # A gap, or another history: the feed knows what is true, this event included.
        await self.catch_up()

    async def catch_up(self) -> None:
        """Read the feed up to its head."""
        while True:
            log_epoch, head, events = await self._feed.read(self._cursor.position)
            if log_epoch != self._cursor.log_epoch or head < self._cursor.position:
                # The first start, or a restored database: forget what was derived, begin anew.
                sys.stdout.write(f"history {log_epoch}\n")
                self._store(Cursor(log_epoch))
                continue
            for event in events:
                self._apply(event)
            if self._cursor.position >= head:
                return

    def _apply(self, event: dict[str, Any]) -> None:
        """Deal with one event, then store the cursor: with a database, in one transaction."""
        name = event["data"]["name"]
        sys.stdout.write(f"{event['sequence']} {event['type']} {event['subject']} {name}\n")
        sys.stdout.flush()
        self._store(Cursor(event["logepoch"], event["sequence"]))

    def _store(self, cursor: Cursor) -> None:
        draft = self._state.with_suffix(".new")
        draft.write_text(json.dumps(asdict(cursor)))
        draft.replace(self._state)
        self._cursor = cursor


async def follow(amqp_url: str, subscriber: Subscriber) -> None:
    """Take events until the connection ends."""
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=UNACKNOWLEDGED)
        # Durable: the broker keeps for us what comes while we are away; bounded, in case we stay
        # away: what it drops, the oldest first, the feed still has.
        queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-max-length": KEPT})
        # Before the feed is read, so that nothing falls between the two.
        await queue.bind(EXCHANGE, routing_key="#")
        await subscriber.catch_up()
        arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        await queue.consume(arrived.put)
        while not connection.is_closed:
            try:
                async with asyncio.timeout(HEAD_CHECK_SECONDS):
                    message = await arrived.get()
            except TimeoutError:
                await subscriber.catch_up()
                continue
            await subscriber.receive(json.loads(message.body))
            # Only now: what we die over is brought again.
            await message.ack()


async def run(amqp_url: str, subscriber: Subscriber) -> None:
    """Follow for ever; when broker or registry are away, try again."""
    while True:
        try:
            await follow(amqp_url, subscriber)
        except (aio_pika.exceptions.AMQPError, httpx.HTTPError, OSError) as error:
            sys.stderr.write(f"trying again: {type(error).__name__}\n")
        await asyncio.sleep(RETRY_SECONDS)


def main() -> None:
    """Read the command line and follow the events until interrupted."""
    parser = argparse.ArgumentParser(description="Print the events of oauthapps.")
    parser.add_argument("--amqp-url", default="amqp://guest:guest@localhost/")
    parser.add_argument("--registry", default="http://localhost:8001")
    parser.add_argument("--token-endpoint", default="http://localhost:8002/oauth2-token")
    parser.add_argument("--state", type=Path, default=Path("subscriber.json"))
    given = parser.parse_args()
    # It tells of a lost connection in a stack trace; `run` says it in a line.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    credentials = (os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"])
    feed = Feed(given.registry, given.token_endpoint, credentials)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(given.amqp_url, Subscriber(feed, given.state)))


if __name__ == "__main__":
    main()
