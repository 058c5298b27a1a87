"""Mail: how many a second, how soon after its event, and whether a backlog makes it slower.

`python -m bench.notifier [--mails N] [--events N] [--backlog N] [--senders N]`. Registry and
notifier as processes on one Postgres, with eight senders; the mail server is a process of its own
that takes everything at once (`bench.mail_sink`), so that the notifier's time is measured. Every
mail goes the whole way: claimed, the owner asked for at the registry, rendered, handed over, noted.

Deliveries of a backlog are put into the notifier's database as the intake records them, for many
owners, while the notifier is not running yet.
"""

import argparse
import asyncio
import re
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvloop

from bench.house import House, free_port, house, now, quantile, served
from services.notifier.app import MIGRATIONS, SCHEMA
from services.notifier.domain import message_id_of
from services.registry.directory_changes import Author, DirectoryChanges, NewUser
from services.registry.event_store import EventStore
from services.registry.handlers import Context
from shared.config import Settings
from shared.postgres import connect, create_pool, migrate_database
from shared.service_credential import load_or_create

OWNERS = 200
RULE = "application-created"
EVENTS_PER_SECOND = 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mails", type=int, default=3000, help="worked off at once")
    parser.add_argument("--events", type=int, default=100, help="appended one after the other")
    parser.add_argument("--backlog", type=int, default=0, help="worked off at once, afterwards")
    parser.add_argument("--senders", type=int, default=8)
    options = parser.parse_args()
    uvloop.run(_main(options.mails, options.events, options.backlog, options.senders))


async def _main(mails: int, events: int, backlog: int, senders: int) -> None:
    async with house() as where:
        load_or_create(where.var / "service_credential")
        await migrate_database(where.dsn, SCHEMA, MIGRATIONS)
        owners = await _owners(where)
        ports = {"registry": free_port(), "notifier": free_port(), "sink": free_port()}
        common = {"REGISTRY__PORT": str(ports["registry"])}
        async with (
            served(where, "registry", ports["registry"], **common),
            _sink(ports["sink"]) as log,
        ):
            settings = {
                **common,
                "NOTIFIER__DATABASE__URL": where.dsn,
                "NOTIFIER__DATABASE__POOL_SIZE": str(senders + 2),
                "NOTIFIER__SMTP__PORT": str(ports["sink"]),
                "NOTIFIER__SENDERS": str(senders),
            }
            if events:
                async with served(where, "notifier", ports["notifier"], **settings):
                    await _latency(where, log, events)
            for count in (mails, backlog):
                if count:
                    await _fill(where, owners, count)
                    async with served(where, "notifier", ports["notifier"], **settings) as url:
                        await _work_off(log, url, count, senders)


async def _latency(where: House, log: Path, count: int) -> None:
    """Append events one after the other, and print how long each took to be a mail."""
    happened: dict[str, float] = {}
    before = _lines(log)
    async with (
        await create_pool(where.dsn, size=2) as pool,
        EventStore(where.dsn, pool) as store,
    ):
        for _ in range(count):
            command, event, _secret = where.create()
            at = time.time()
            (envelope,) = await store.append(command)
            message_id = message_id_of(
                envelope.id, RULE, event.owner_id, domain=Settings().notifier.message_id_domain
            )
            happened[message_id.strip("<>")] = at
            await asyncio.sleep(1 / EVENTS_PER_SECOND)
    await _wait(log, before + count)
    taken = _taken(log)
    took = sorted((taken[name] - at) * 1000 for name, at in happened.items())
    print(
        f"notifier: {count} events, {EVENTS_PER_SECOND} a second, to handed over: "
        f"p50 {quantile(took, 0.5):.1f} ms, p95 {quantile(took, 0.95):.1f} ms, "
        f"slowest {took[-1]:.1f} ms",
        flush=True,
    )


async def _work_off(log: Path, url: str, count: int, senders: int) -> None:
    """Wait until everything that is due is sent, and print how fast it was."""
    before = _lines(log)
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        # When all that is loaded once has been.
        await _wait(log, before + count // 20)
        at_start = await _megabytes(http)
        await _wait(log, before + count)
        at_end = await _megabytes(http)
    times = sorted(_taken(log).values())[before:]
    tenth = count // 10
    print(
        f"notifier: {count:,} mails by {senders} senders: {_rate(times):.0f}/s, "
        f"first tenth {_rate(times[:tenth]):.0f}/s, last tenth {_rate(times[-tenth:]):.0f}/s; "
        f"memory {at_start:.0f} MB after a twentieth, {at_end:.0f} MB at the end",
        flush=True,
    )


def _rate(times: Sequence[float]) -> float:
    return (len(times) - 1) / (times[-1] - times[0])


async def _megabytes(http: httpx.AsyncClient) -> float:
    """Return the memory of the process as it tells it."""
    found = re.search(
        r"^process_resident_memory_bytes (\S+)$", (await http.get("/metrics")).text, re.MULTILINE
    )
    return float(found[1]) / 1e6 if found else 0.0


async def _owners(where: House) -> Sequence[str]:
    async with await create_pool(where.dsn, size=2) as pool:
        changes = DirectoryChanges(pool)
        author = Author(context=Context(command_id=str(uuid.uuid4()), actor="cli:bench", now=now))
        return [
            (
                await changes.add_user(
                    NewUser(
                        email=f"owner{n}@example.com",
                        name=f"Ówner {n}",
                        organizations=[where.organization_id],
                    ),
                    author,
                )
            ).id
            for n in range(OWNERS)
        ]


async def _fill(where: House, owners: Sequence[str], count: int) -> None:
    connection = await connect(where.dsn, command_seconds=120)
    try:
        await connection.execute(_FILL, count, owners)
        await connection.execute("ANALYZE notifier.deliveries")
    finally:
        await connection.close()


@asynccontextmanager
async def _sink(port: int) -> AsyncIterator[Path]:
    """Run the mail server; yield the file that it writes to."""
    with tempfile.NamedTemporaryFile(prefix="bench-sink-") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.mail_sink", str(port)), stdout=output
        )
        try:
            yield Path(output.name)
        finally:
            process.terminate()
            await process.wait()


async def _wait(log: Path, count: int) -> None:
    while _lines(log) < count:  # noqa: ASYNC110 - the sink is another process
        await asyncio.sleep(0.3)


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n")


def _taken(log: Path) -> dict[str, float]:
    """Return when the sink had read each mail; of one that came twice the first."""
    times: dict[str, float] = {}
    for line in log.read_text().splitlines():
        at, name = line.split(" ")
        times.setdefault(name, float(at))
    return times


# As the intake records them; each for another owner than the one before.
_FILL = """
INSERT INTO notifier.deliveries (event_id, event_type, position, application_id, rule, template,
                                 recipient, context, message_id, state)
SELECT gen_random_uuid()::text, 'ApplicationCreated', n, gen_random_uuid()::text,
       'application-created', 'application_created', ($2::text[])[1 + n % cardinality($2)],
       jsonb_build_object('application_name', 'Nightly import ' || n, 'client_id', md5(n::text)),
       '<' || gen_random_uuid() || '@bench>', 'due'
  FROM generate_series(1, $1::integer) AS n
"""

if __name__ == "__main__":
    main()
