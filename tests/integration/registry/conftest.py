"""What the registry's tests may ask for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from services.registry.event_store import EventStore
from tests.integration.registry.administration import administration
from tests.integration.registry.api import Api, api_of
from tests.integration.registry.house import House, house_in
from tests.support.postgres import Databases

__all__ = ["administration"]


@pytest_asyncio.fixture
async def house(databases: Databases) -> AsyncIterator[House]:
    """A migrated database with one organization and one owner."""
    async with house_in(databases) as house:
        yield house


@pytest_asyncio.fixture
async def store(house: House) -> AsyncIterator[EventStore]:
    """A writer of the log."""
    async with house.store() as store:
        yield store


@pytest_asyncio.fixture
async def api(house: House, tmp_path: Path) -> AsyncIterator[Api]:
    """A running registry; its client calls as an application of the owner."""
    async with api_of(house, tmp_path) as api:
        yield api
