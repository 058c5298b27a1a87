"""Events a second from the registry's feed into an empty projection.

`python -m bench.catch_up [--events N] [--rounds N]`. The registry is a process of its own; the
subscriber pages its feed from the first event, as after a new history without a snapshot. Beside
it stands what one process can decode of the same pages without storing anything.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from bench.house import House, free_port, house, served
from services.registry.event_store import EventStore
from services.token.projection import Projection
from services.token.projector import ProjectionSubscriber
from shared.clients import ClientRecord, SnapshotHead
from shared.config import Settings
from shared.feed_client import FeedClient
from shared.garbage import settle
from shared.postgres import create_pool
from shared.sections import Subscription
from shared.service_credential import load_or_create
from shared.subscription import Cursor
from shared.subscription import Subscription as Following

WRITERS = 400


class FromTheBeginning(ProjectionSubscriber):
    """Reads the whole history, where the service would take a snapshot."""

    async def start_over(self, log_epoch: str) -> Cursor:
        """Begin before the first event."""
        await self._projection.replace_all(SnapshotHead(log_epoch=log_epoch, position=0), _nobody())
        return Cursor(log_epoch, 0)


async def _nobody() -> AsyncIterator[ClientRecord]:
    nobody: tuple[ClientRecord, ...] = ()
    for record in nobody:
        yield record


def main() -> None:
    """Fill a log, read it several times, print the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=100_000, help="length of the log")
    parser.add_argument("--rounds", type=int, default=5, help="how often it is read")
    options = parser.parse_args()
    uvloop.run(_main(options.events, options.rounds))


async def _main(events: int, rounds: int) -> None:
    settle()
    async with house() as where:
        await fill(where, events)
        async with registry(where) as feed:
            decoded = [await decode(feed) for _ in range(rounds)]
            projected = [await project(feed) for _ in range(rounds)]
    decode_rate, rate = statistics.median(decoded), statistics.median(projected)
    print(
        f"catch-up: {rate:,.0f} events/s from the feed into an empty projection, "
        f"{decode_rate:,.0f}/s without storing them: ratio {rate / decode_rate:.2f} "
        f"({events:,} events, {rounds} rounds)",
        flush=True,
    )


async def fill(where: House, events: int) -> None:
    """Write a log of which every tenth event is a deactivation."""
    async with await create_pool(where.dsn, size=2) as pool, EventStore(where.dsn, pool) as store:
        left = iter(range(events))

        async def write() -> None:
            for number in left:
                command, created, _ = where.create()
                await store.append(command)
                if number % 10 == 0 and next(left, None) is not None:
                    await store.append(where.deactivate(created))

        await asyncio.gather(*(write() for _ in range(WRITERS)))


@asynccontextmanager
async def registry(where: House) -> AsyncIterator[FeedClient]:
    """Serve the log from a process of its own."""
    credential = load_or_create(where.var / Settings(var=where.var).internal.credential_file)
    port = free_port()
    async with (
        served(where, "registry", port),
        FeedClient(
            f"http://127.0.0.1:{port}", credential, page_size=Subscription().page_size
        ) as feed,
    ):
        yield feed


async def decode(feed: FeedClient) -> float:
    """Return events a second that are read and decoded and no more."""
    position, started = 0, time.perf_counter()
    while True:
        page = await feed.read(position)
        position += len(page.envelopes)
        if position >= page.head:
            return position / (time.perf_counter() - started)


async def project(feed: FeedClient) -> float:
    """Return events a second that arrive in an empty projection."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        projection = Projection(Path(folder), map_size=2**30)
        following = Following(FromTheBeginning(projection, feed), feed, Subscription())
        started = time.perf_counter()
        await following.catch_up()
        elapsed = time.perf_counter() - started
        position = projection.cursor().position
        projection.close()
    return position / elapsed


if __name__ == "__main__":
    main()
