"""Systems to be used and broken."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.e2e.system import System
from tests.support.smtp_server import SmtpServer


@pytest_asyncio.fixture
async def smtp() -> AsyncIterator[SmtpServer]:
    """A mail server that can be told to misbehave."""
    async with SmtpServer() as server:
        yield server


@pytest_asyncio.fixture
async def system(
    tmp_path: Path, database_url: str, amqp_url: str, smtp: SmtpServer
) -> AsyncIterator[System]:
    """All three services, with RabbitMQ."""
    async with System(tmp_path, database_url, smtp_port=smtp.port, amqp_url=amqp_url) as running:
        yield running
