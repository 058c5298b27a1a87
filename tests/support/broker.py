"""Fixtures: a RabbitMQ for the whole run, a virtual host for each test, and one to be broken.

`OAUTHAPPS_TEST_AMQP_URL` names a broker to use instead; its exchanges of ours are removed after
each test, as virtual hosts cannot be made over AMQP.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol, Self

import aio_pika
import pytest_asyncio

from shared.bus import INTERNAL_EXCHANGE, PUBLIC_EXCHANGE
from tests.support.container_broker import IMAGE, ContainerBroker
from tests.support.containers import obstacle
from tests.support.missing import missing
from tests.support.private_broker import PrivateBroker

AMQP_VARIABLE = "OAUTHAPPS_TEST_AMQP_URL"
NOTHING = (
    f"no RabbitMQ for the tests: set {AMQP_VARIABLE}, start Docker with the image "
    "rabbitmq:4-management, or install the package rabbitmq-server"
)


class Broker(Protocol):
    """Where tests get a place without anybody's messages."""

    async def __aenter__(self) -> Self:
        """Start it."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""

    async def add_vhost(self, name: str) -> str:
        """Return the URL of a place with that name."""

    async def delete_vhost(self, name: str) -> None:
        """Remove it."""


class GivenBroker:
    """A broker that somebody else runs."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def add_vhost(self, _name: str) -> str:
        """Return the one place there is."""
        return self._url

    async def delete_vhost(self, _name: str) -> None:
        """Remove our exchanges, and so all bindings."""
        connection = await aio_pika.connect(self._url, timeout=10)
        async with connection, connection.channel() as channel:
            for exchange in (PUBLIC_EXCHANGE, INTERNAL_EXCHANGE):
                await channel.exchange_delete(exchange)


def pytest_report_header() -> str:
    """Say which RabbitMQ the tests get."""
    if AMQP_VARIABLE in os.environ:
        return f"RabbitMQ: the one that {AMQP_VARIABLE} names"
    why_not = obstacle(IMAGE)
    return f"RabbitMQ: {f'the Debian package, as {why_not}' if why_not else f'container {IMAGE}'}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def broker() -> AsyncIterator[Broker]:
    """A broker that all tests share; ask for `amqp_url` rather."""
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(_choose())


def _choose() -> Broker:
    given = os.environ.get(AMQP_VARIABLE)
    if given:
        return GivenBroker(given)
    if not obstacle(IMAGE):
        return ContainerBroker()
    if not PrivateBroker.is_installed():
        missing(NOTHING)
    return PrivateBroker()


@pytest_asyncio.fixture
async def amqp_url(broker: Broker) -> AsyncIterator[str]:
    """URL of a virtual host that this test has for itself."""
    name = f"test-{uuid.uuid4().hex}"
    url = await broker.add_vhost(name)
    try:
        yield url
    finally:
        await broker.delete_vhost(name)


@pytest_asyncio.fixture
async def private_broker() -> AsyncIterator[PrivateBroker]:
    """A running broker that this test may stop, kill and start again. Takes seconds to start."""
    if not PrivateBroker.is_installed():
        missing("no RabbitMQ to be stopped: install the package rabbitmq-server")
    async with PrivateBroker() as private:
        yield private
