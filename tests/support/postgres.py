"""Fixtures: a Postgres for the whole run, and a database for each test.

`OAUTHAPPS_TEST_DATABASE_URL` names a server to use instead, as a user who may create databases.
"""

import os
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio

from services.embedded.postgres import EmbeddedPostgres, EmbeddedPostgresError
from tests.support.missing import missing

DATABASE_VARIABLE = "OAUTHAPPS_TEST_DATABASE_URL"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """URL of a server that the tests may create databases on."""
    given = os.environ.get(DATABASE_VARIABLE)
    if given:
        yield given
        return
    postgres = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    try:
        url = await postgres.start()
    except EmbeddedPostgresError as error:
        missing(f"no Postgres for the tests: {error}")
    try:
        yield url
    finally:
        await postgres.stop()


@pytest_asyncio.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """URL of an empty database that this test has for itself."""
    name = f"test_{uuid.uuid4().hex}"
    await _execute(postgres_url, f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    finally:
        await _execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=30)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
