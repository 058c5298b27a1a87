"""From the commit of a deactivation to the first refusal by whoever follows the registry.

`python -m bench.deactivation [--rounds N]`: by the token service over RabbitMQ, and by APIs of
somebody else's behind a `Guard`, one that follows RabbitMQ and one that follows the registry's
feed. Registry, token service and APIs are processes of their own; the application's requests follow
each other without a pause until one is refused, at one of them after the other. Beside it stands
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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aio_pika
import httpx
import uvloop

from bench.house import House, free_port, house, make_credentials, quantile, running, served
from services.registry.event_store import EventStore
from shared.config import Settings
from shared.events import ApplicationCreated
from shared.postgres import create_pool
from tests.support.private_broker import PrivateBroker

AMQP_VARIABLE = "OAUTHAPPS_TEST_AMQP_URL"
FOLLOW_SECONDS = 15
MESSAGE_BYTES = 700
MANY = "1000000"
ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "examples" / "protected_api.py"
Ask = Callable[[], Awaitable[httpx.Response]]


def main() -> None:
    """Measure in turn and print the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=300, help="how many deactivations")
    options = parser.parse_args()
    uvloop.run(_main(options.rounds))


async def _main(rounds: int) -> None:
    async with broker() as amqp_url, house() as where:
        bare = sorted(await messages(amqp_url, rounds))
        refused = await deactivations(where, amqp_url, rounds)
    alone = quantile(bare, 0.5)
    for who, taken in refused.items():
        ours = sorted(taken)
        median = quantile(ours, 0.5)
        print(
            f"deactivation: refused by {who} p50 {median:.1f} ms, "
            f"p99 {quantile(ours, 0.99):.1f} ms after the commit; "
            f"a durable message alone p50 {alone:.1f} ms, p99 {quantile(bare, 0.99):.1f} ms: "
            f"ratio {median / alone:.1f} ({rounds} deactivations)",
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


async def deactivations(where: House, amqp_url: str, rounds: int) -> dict[str, list[float]]:
    """Return how many milliseconds pass between each commit and the first refusal, by whom."""
    make_credentials(Settings(var=where.var))
    registry_port, token_port = free_port(), free_port()
    registry_url, token_url = (f"http://127.0.0.1:{one}" for one in (registry_port, token_port))
    addresses = {
        "BUS__URL": amqp_url,
        "REGISTRY__PUBLIC_URL": registry_url,
        "REGISTRY__INTERNAL_URL": registry_url,
        "TOKEN__ISSUER": token_url,
        "TOKEN__INTERNAL_URL": token_url,
        # More happens in a minute here than anywhere else.
        "REGISTRY__RATE_LIMITS__READS_PER_MINUTE": MANY,
        "TOKEN__FAILURES__PER_ADDRESS_AND_MINUTE": MANY,
    }
    async with (
        served(where, "registry", registry_port, **addresses),
        served(where, "token", token_port, **addresses),
        httpx.AsyncClient(trust_env=False) as http,
        await create_pool(where.dsn, size=2) as pool,
        EventStore(where.dsn, pool) as store,
    ):
        desk = Desk(where, store, http, token_url)
        reader = await desk.add("events:read")
        names = {"TOKENS": token_url, "REGISTRY": registry_url}
        async with (
            protected_api(reader, **names, AMQP_URL=amqp_url) as over_bus,
            protected_api(reader, **names) as over_feed,
        ):
            ways: dict[str, Callable[[], Awaitable[float]]] = {
                "the token service": desk.until_no_token,
                "an API over RabbitMQ": partial(desk.until_refused, over_bus),
                "an API over the feed": partial(desk.until_refused, over_feed),
            }
            return {who: [await way() for _ in range(rounds)] for who, way in ways.items()}


@dataclass(frozen=True)
class Client:
    """An application as its owner has it."""

    created: ApplicationCreated
    secret: str


@dataclass(frozen=True)
class Desk:
    """Where applications come and go."""

    where: House
    store: EventStore
    http: httpx.AsyncClient
    token_url: str

    async def add(self, scope: str = "applications:read") -> Client:
        """Add an application; return it when it can obtain tokens."""
        command, created, secret = self.where.create(scope)
        await self.store.append(command)
        client = Client(created, secret)
        await until(partial(self.ask_for_token, client), 200)
        return client

    async def ask_for_token(self, client: Client) -> httpx.Response:
        """Ask for a token once."""
        return await self.http.post(
            f"{self.token_url}/oauth2-token",
            data={"grant_type": "client_credentials"},
            auth=(client.created.client_id, client.secret),
        )

    async def until_no_token(self) -> float:
        """Return the milliseconds from a deactivation until no token is given."""
        client = await self.add()
        return await self.until_denied(client, partial(self.ask_for_token, client))

    async def until_refused(self, api: str) -> float:
        """Return the milliseconds from a deactivation until an API refuses a token of before."""
        client = await self.add()
        token = (await self.ask_for_token(client)).json()["access_token"]
        ask = partial(self.http.get, f"{api}/orders", headers={"Authorization": f"Bearer {token}"})
        await until(ask, 200)
        return await self.until_denied(client, ask)

    async def until_denied(self, client: Client, ask: Ask) -> float:
        """Deactivate, and return the milliseconds until the answer is 401."""
        await self.store.append(self.where.deactivate(client.created))
        committed = time.perf_counter()
        return (await until(ask, 401) - committed) * 1000


@asynccontextmanager
async def protected_api(reader: Client, **environment: str) -> AsyncIterator[str]:
    """Run the example of the documents in a process of its own; yield its URL."""
    url = f"http://127.0.0.1:{free_port()}"
    command = (str(EXAMPLE), reader.created.client_id, reader.secret)
    told = {"PYTHONPATH": str(ROOT), "API": url, **environment}
    async with running(*command, url=url, environment=told, output=asyncio.subprocess.DEVNULL):
        yield url


async def until(ask: Ask, status: int) -> float:
    """Ask until the answer has that status; return when that was."""
    async with asyncio.timeout(FOLLOW_SECONDS):
        while (await ask()).status_code != status:
            pass
        return time.perf_counter()


if __name__ == "__main__":
    main()
