"""A migrated database and a mail server for each test."""

from collections.abc import AsyncIterator

import pytest_asyncio

from services.notifier.deliveries import Deliveries
from shared.postgres import Pool, create_pool
from tests.integration.notifier.house import migrated
from tests.support.postgres import Databases
from tests.support.smtp_server import SmtpServer


@pytest_asyncio.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """URL of a database with the notifier's schema that this test has for itself."""
    async with databases.copy(migrated) as (url, _):
        yield url


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections to the test's database."""
    pool = await create_pool(database_url, size=8)
    try:
        yield pool
    finally:
        await pool.close()


@pytest_asyncio.fixture
async def deliveries(pool: Pool) -> Deliveries:
    """No deliveries yet."""
    return Deliveries(pool)


@pytest_asyncio.fixture
async def mail_server() -> AsyncIterator[SmtpServer]:
    """A mail server that takes everything, until told otherwise."""
    async with SmtpServer() as server:
        yield server
