"""Appends a second with 64 writers, beside a bare INSERT under a lock on the same Postgres.

`python -m bench.append [--seconds N] [--rounds N]`. The bare loop is the least that gives
positions in order of commit: 64 connections, each taking an advisory lock, inserting one row and
committing. Ours does all that an append does: versions, names, owner, event and read model, beside
the job that keeps its search index in order.
"""

import argparse
import asyncio
import gc
import statistics
import time

import uvloop

from bench.house import House, house, quantile
from services.registry.event_store import EventStore
from services.registry.name_search import tidy
from shared.garbage import settle
from shared.postgres import connect, create_pool
from shared.tasks import end as stop

WRITERS = 64
MOST_PER_SECOND = 30_000
_BARE_TABLE = "CREATE TABLE IF NOT EXISTS bare (position bigserial PRIMARY KEY, data json)"
_BARE_INSERT = "INSERT INTO bare (data) VALUES ($1)"
_BARE_ROW = '{"name": "x", "id": "00000000-0000-4000-8000-000000000000"}'


def main() -> None:
    """Measure in turn and print the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=3, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    options = parser.parse_args()
    uvloop.run(_main(options.seconds, options.rounds))


async def _main(seconds: float, rounds: int) -> None:
    settle()
    async with house() as where:
        bare, ours, latencies = [], [], []
        for _ in range(rounds):
            bare.append(await bare_appends(where, seconds))
            rate, taken = await appends(where, seconds)
            ours.append(rate)
            latencies += taken
    latencies.sort()
    ratio = statistics.median(ours) / statistics.median(bare)
    print(
        f"append: {statistics.median(ours):,.0f} commands/s with {WRITERS} writers, "
        f"bare INSERT under a lock {statistics.median(bare):,.0f}/s: ratio {ratio:.1f} "
        f"(p50 {quantile(latencies, 0.5):.1f} ms, p99 {quantile(latencies, 0.99):.1f} ms, "
        f"{rounds} rounds)",
        flush=True,
    )


async def bare_appends(where: House, seconds: float) -> float:
    """Return commits a second of the bare loop."""
    connections = [await connect(where.dsn) for _ in range(WRITERS)]
    await connections[0].execute(_BARE_TABLE)
    end = time.perf_counter() + seconds

    async def write(index: int) -> int:
        done = 0
        while time.perf_counter() < end:
            async with connections[index].transaction():
                await connections[index].execute("SELECT pg_advisory_xact_lock(1)")
                await connections[index].execute(_BARE_INSERT, _BARE_ROW)
            done += 1
        return done

    started = time.perf_counter()
    done = sum(await asyncio.gather(*(write(index) for index in range(WRITERS))))
    elapsed = time.perf_counter() - started
    await asyncio.gather(*(one.close() for one in connections))
    return done / elapsed


async def appends(where: House, seconds: float) -> tuple[float, list[float]]:
    """Return commands a second of our log, and how many milliseconds each took."""
    async with (
        await create_pool(where.dsn, size=2) as pool,
        EventStore(where.dsn, pool) as store,
    ):
        tidying = asyncio.create_task(tidy(pool))
        latencies: list[float] = []
        # Made beforehand: the figure is the log's, not that of the random numbers.
        commands = iter([where.create()[0] for _ in range(int(seconds * MOST_PER_SECOND))])
        # Nor that of the garbage collector walking over them.
        gc.collect()
        gc.freeze()
        end = time.perf_counter() + seconds

        async def write() -> None:
            for command in commands:
                begun = time.perf_counter()
                if begun > end:
                    return
                await store.append(command)
                latencies.append((time.perf_counter() - begun) * 1000)

        started = time.perf_counter()
        await asyncio.gather(*(write() for _ in range(WRITERS)))
        elapsed = time.perf_counter() - started
        await stop(tidying)
        return len(latencies) / elapsed, latencies


if __name__ == "__main__":
    main()
