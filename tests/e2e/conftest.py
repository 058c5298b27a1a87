"""Systems to be used and broken."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.system import System, install
from tests.support.postgres import Databases
from tests.support.smtp_server import SmtpServer


@pytest_asyncio.fixture
async def smtp() -> AsyncIterator[SmtpServer]:
    """A mail server that can be told to misbehave."""
    async with SmtpServer() as server:
        yield server


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Awaitable[Path]]:
    """What makes an installation; it returns the folder with its keys."""
    var = tmp_path_factory.mktemp("installed")

    async def make(database_url: str) -> Path:
        await install(var, database_url)
        return var

    return make


@pytest_asyncio.fixture
async def database_url(
    databases: Databases, installed: Callable[[str], Awaitable[Path]], tmp_path: Path
) -> AsyncIterator[str]:
    """URL of the database of an installation; its keys are in `tmp_path`."""
    async with databases.copy(installed) as (url, var):
        shutil.copytree(var, tmp_path, dirs_exist_ok=True)
        yield url


@pytest_asyncio.fixture
async def system(
    tmp_path: Path, database_url: str, amqp_url: str, smtp: SmtpServer
) -> AsyncIterator[System]:
    """All three services, with RabbitMQ."""
    async with System(tmp_path, database_url, smtp_port=smtp.port, amqp_url=amqp_url) as running:
        yield running
