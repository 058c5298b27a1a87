"""What the token service's tests may ask for."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.integration.token.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A house in which nothing runs yet."""
    return House(tmp_path)


@pytest_asyncio.fixture
async def http(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a token service that is ready and knows `house.application`."""
    async with house.ready() as client:
        yield client
