"""From the commit of a deactivation to the first refusal by the token service, over RabbitMQ.

`python -m bench.deactivation [--rounds N]`: registry and token service are processes of their own,
the application's requests follow each other without a pause until one is refused. Beside it stands
what a durable message of that size needs through the same broker, confirm and delivery, which is
the least that any design over this bus can reach.

`OAUTHAPPS_TEST_AMQP_URL` names a RabbitMQ to measure on; without it the Debian package's server is
started privately.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import httpx
import uvloop

from bench.house import House, free_port, house, quantile, served
from services.registry.event_store import EventStore
from services.token.keys import generate
from shared.config import Settings
from shared.postgres import create_pool
from shared.service_credential import load_or_create
from tests.support.private_broker import PrivateBroker

AMQP_VARIABLE = "OAUTHAPPS_TEST_AMQP_URL"
FOLLOW_SECONDS = 15
MESSAGE_BYTES = 700


def main() -> None:
    """Measure in turn and print the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=300, help="how many deactivations")
    options = parser.parse_args()
    uvloop.run(_main(options.rounds))


async def _main(rounds: int) -> None:
    async with broker() as amqp_url, house() as where:
        bare = sorted(await messages(amqp_url, rounds))
        ours = sorted(await deactivations(where, amqp_url, rounds))
    median = quantile(ours, 0.5)
    print(
        f"deactivation: refused p50 {median:.1f} ms, p99 {quantile(ours, 0.99):.1f} ms after the "
        f"commit; a durable message alone p50 {quantile(bare, 0.5):.1f} ms, "
        f"p99 {quantile(bare, 0.99):.1f} ms: ratio {median / quantile(bare, 0.5):.1f} "
        f"({rounds} deactivations)",
        flush=True,
    )


@asynccontextmanager
async def broker() -> AsyncIterator[str]:
    """Yield the URL of a RabbitMQ."""
    given = os.environ.get(AMQP_VARIABLE)
    if given:
        yield given
        return
    if not PrivateBroker.is_installed():
        sys.exit(f"bench.deactivation needs RabbitMQ: set {AMQP_VARIABLE}, or `make broker`")
    async with PrivateBroker() as private:
        yield private.url


async def messages(amqp_url: str, rounds: int) -> list[float]:
    """Return how many milliseconds each durable message takes until confirmed and delivered."""
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        queue = await channel.declare_queue(exclusive=True)
        arrived: asyncio.Queue[None] = asyncio.Queue()

        async def take(_: aio_pika.abc.AbstractIncomingMessage) -> None:
            arrived.put_nowait(None)

        await queue.consume(take, no_ack=True)
        taken = []
        for _ in range(rounds):
            message = aio_pika.Message(
                bytes(MESSAGE_BYTES), delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            )
            begun = time.perf_counter()
            await channel.default_exchange.publish(message, queue.name)
            await arrived.get()
            taken.append((time.perf_counter() - begun) * 1000)
        return taken


async def deactivations(where: House, amqp_url: str, rounds: int) -> list[float]:
    """Return how many milliseconds pass between each commit and the first refusal."""
    settings = Settings(var=where.var)
    generate(
        settings.in_var(settings.token.private_key),
        settings.in_var(settings.token.public_key),
        "RS256",
    )
    load_or_create(settings.in_var(settings.internal.credential_file))
    registry_port, token_port = free_port(), free_port()
    registry_url = f"http://127.0.0.1:{registry_port}"
    async with (
        served(where, "registry", registry_port, BUS__URL=amqp_url),
        served(
            where,
            "token",
            token_port,
            BUS__URL=amqp_url,
            REGISTRY__INTERNAL_URL=registry_url,
        ) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
        await create_pool(where.dsn, size=2) as pool,
        EventStore(where.dsn, pool) as store,
    ):
        return [await deactivation(where, store, http) for _ in range(rounds)]


async def deactivation(where: House, store: EventStore, http: httpx.AsyncClient) -> float:
    """Add an application, deactivate it, and return the milliseconds until it is refused."""
    command, created, secret = where.create()
    credentials = (created.client_id, secret)
    await store.append(command)
    await until(http, credentials, 200)
    await store.append(where.deactivate(created))
    committed = time.perf_counter()
    return (await until(http, credentials, 401) - committed) * 1000


async def until(http: httpx.AsyncClient, credentials: tuple[str, str], status: int) -> float:
    """Ask for tokens until the answer has that status; return when that was."""
    async with asyncio.timeout(FOLLOW_SECONDS):
        while True:
            answer = await http.post(
                "/oauth2-token", data={"grant_type": "client_credentials"}, auth=credentials
            )
            if answer.status_code == status:
                return time.perf_counter()


if __name__ == "__main__":
    main()
