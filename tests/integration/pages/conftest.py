"""A running registry with pages, and somebody who is logged in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.integration.pages.visitor import Visitor, give_password, visitor_of
from tests.integration.registry.api import Api, api_of
from tests.integration.registry.house import house_in
from tests.support.postgres import Databases


@pytest_asyncio.fixture
async def api(databases: Databases, tmp_path: Path) -> AsyncIterator[Api]:
    """A running registry; its one user has a password."""
    async with house_in(databases) as house, api_of(house, tmp_path) as api:
        await give_password(api, house.owner)
        yield api


@pytest_asyncio.fixture
async def stranger(api: Api) -> AsyncIterator[Visitor]:
    """A browser in which nobody is logged in."""
    visitor = visitor_of(api)
    async with visitor.http:
        yield visitor


@pytest_asyncio.fixture
async def olga(api: Api) -> AsyncIterator[Visitor]:
    """The user's browser, on *My User*."""
    visitor = visitor_of(api)
    async with visitor.http:
        await visitor.log_in("owner@example.com")
        yield visitor
