"""Fixtures: a Postgres for the whole run, and a database for each test.

`OAUTHAPPS_TEST_DATABASE_URL` names a server to use instead, as a user who may create databases.
"""

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from services.embedded.postgres import EmbeddedPostgres, EmbeddedPostgresError
from tests.support.container_postgres import IMAGE, ContainerPostgres
from tests.support.containers import obstacle
from tests.support.missing import missing

T = TypeVar("T")
DATABASE_VARIABLE = "OAUTHAPPS_TEST_DATABASE_URL"


def pytest_report_header() -> str:
    """Say which Postgres the tests get."""
    if DATABASE_VARIABLE in os.environ:
        return f"Postgres: the one that {DATABASE_VARIABLE} names"
    why_not = obstacle(IMAGE)
    return f"Postgres: {f'the wheel, as {why_not}' if why_not else f'container {IMAGE}'}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """URL of a server that the tests may create databases on."""
    given = os.environ.get(DATABASE_VARIABLE)
    if given:
        yield given
        return
    if not obstacle(IMAGE):
        async with ContainerPostgres() as container:
            yield container.url
        return
    postgres = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False)
    try:
        url = await postgres.start()
    except EmbeddedPostgresError as error:
        missing(f"no Postgres for the tests: {error}")
    try:
        yield url
    finally:
        await postgres.stop()


class Databases:
    """Makes databases on a server: empty ones, and copies of what was made once."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._models: dict[Any, tuple[str, Any]] = {}

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """Yield the URL of a database with nothing in it."""
        async with self._made("") as url:
            yield url

    @asynccontextmanager
    async def copy(self, fill: Callable[[str], Awaitable[T]]) -> AsyncIterator[tuple[str, T]]:
        """Yield the URL of a database that is like one which `fill` has filled, and its result.

        It fills one for the whole run; a copy of that takes a tenth of the time.
        """
        if fill not in self._models:
            self._models[fill] = await self._model(fill)
        name, filled = self._models[fill]
        async with self._made(f" TEMPLATE {name}") as url:
            yield url, filled

    async def aclose(self) -> None:
        """Remove what copies were made of."""
        async with self._session() as server:
            for name, _ in self._models.values():
                await server.execute(f"DROP DATABASE {name}")

    async def _model(self, fill: Callable[[str], Awaitable[T]]) -> tuple[str, T]:
        name = _new_name()
        async with self._session() as server:
            await server.execute(f"CREATE DATABASE {name}")
            filled = await fill(self._url(name))
            # Nobody can be in the way of a copy.
            await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        return name, filled

    @asynccontextmanager
    async def _made(self, like: str) -> AsyncIterator[str]:
        name = _new_name()
        async with self._session() as server:
            await server.execute(f"CREATE DATABASE {name}{like}")
            try:
                yield self._url(name)
            finally:
                await server.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @asynccontextmanager
    async def _session(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(self._server, timeout=10, command_timeout=30)
        try:
            yield connection
        finally:
            await connection.close()

    def _url(self, name: str) -> str:
        return urlsplit(self._server)._replace(path=f"/{name}").geturl()


def _new_name() -> str:
    return f"test_{uuid.uuid4().hex}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def databases(postgres_url: str) -> AsyncIterator[Databases]:
    """Maker of databases; most tests ask for `database_url` or what is built on a copy."""
    databases = Databases(postgres_url)
    yield databases
    await databases.aclose()


@pytest_asyncio.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """URL of an empty database that this test has for itself."""
    async with databases.empty() as url:
        yield url
