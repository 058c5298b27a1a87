"""What the tests of shared parts may ask for."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.embedded.postgres import EmbeddedPostgresError
from tests.support.locked_postgres import LockedDatabase, LockedPostgres
from tests.support.missing import missing


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def locked_postgres(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[LockedPostgres]:
    """A server that asks for passwords."""
    server = LockedPostgres(tmp_path_factory.mktemp("locked"))
    try:
        await server.start()
    except EmbeddedPostgresError as error:
        missing(f"no Postgres with passwords for the tests: {error}")
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def locked_database(locked_postgres: LockedPostgres) -> AsyncIterator[LockedDatabase]:
    """A database of it, empty, with an owner of its own."""
    async with locked_postgres.database() as made:
        yield made
