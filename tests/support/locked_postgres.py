"""A Postgres that asks for passwords: the other one of the tests believes everybody."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from services.embedded import postgres as embedded
from services.embedded.postgres import EmbeddedPostgres
from tests.support.ports import free_port

PASSWORDS = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


class LockedPostgres(EmbeddedPostgres):
    """The embedded server, with roles that have to prove who they are."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, durable=False)
        self.port = free_port()
        self._settings = {
            **self._settings,
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
        }

    async def start(self) -> str:
        """Start it, and let nobody in over TCP without a password; return the URL of the owner."""
        await super().start()
        (self._data / "pg_hba.conf").write_text(PASSWORDS)
        await self.run("SELECT pg_reload_conf()")
        return self.dsn

    async def run(self, *statements: str, database: str = embedded.DATABASE) -> None:
        """Do something as the owner of everything."""
        url = self.dsn.replace(f"/{embedded.DATABASE}?", f"/{database}?", 1)
        connection = await asyncpg.connect(url)
        try:
            for one in statements:
                await connection.execute(one)
        finally:
            await connection.close()

    @asynccontextmanager
    async def database(self) -> AsyncIterator["LockedDatabase"]:
        """Make a database, and the role that owns it."""
        name = f"test_{uuid.uuid4().hex}"
        made = LockedDatabase(self, name)
        await self.run(f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
        await self.run(f"CREATE DATABASE {name} OWNER {name}")
        try:
            yield made
        finally:
            await self.run(f"DROP DATABASE {name} WITH (FORCE)")


class LockedDatabase:
    """A database whose owner has the same name, and the password `right`."""

    def __init__(self, server: LockedPostgres, name: str) -> None:
        self._server = server
        self.name = name

    def url(self, password: str = "right", *, query: str = "") -> str:
        """Where its owner reaches it, with a password that may be wrong."""
        return (
            f"postgresql://{self.name}:{password}@127.0.0.1:{self._server.port}/{self.name}{query}"
        )

    async def run(self, *statements: str) -> None:
        """Do something in it as the owner of everything."""
        await self._server.run(*statements, database=self.name)
