"""Postgres in a container."""

import secrets

import asyncpg

from shared.postgres import POSTGRES_ERRORS
from tests.support.containers import RunningContainer, new_container

IMAGE = "postgres:17"
PORT = 5432
START_SECONDS = 60.0
USER = "oauthapps"
DATA_FOLDER = "/var/lib/postgresql/data"
# Nobody misses the data, so nobody waits for a disk.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "timezone": "UTC",
}


class ContainerPostgres(RunningContainer):
    """A server whose user may do anything; it is gone with the container."""

    def __init__(self) -> None:
        self._password = secrets.token_hex(16)
        options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        container = (
            new_container(IMAGE, PORT)
            .with_env("POSTGRES_USER", USER)
            .with_env("POSTGRES_PASSWORD", self._password)
            # Asked for at each of many connections: the other way takes its time on purpose.
            .with_env("POSTGRES_HOST_AUTH_METHOD", "password")
            .with_env("POSTGRES_INITDB_ARGS", "--encoding=UTF8 --locale=C --no-sync")
            .with_command(f"postgres {options}")
            # Copies of a database take a tenth of the time there.
            .with_tmpfs_mount(DATA_FOLDER)
        )
        super().__init__(container, seconds=START_SECONDS)

    @property
    def url(self) -> str:
        """URL of a database on it."""
        place = (
            f"{self._container.get_container_host_ip()}:{self._container.get_exposed_port(PORT)}"
        )
        return f"postgresql://{USER}:{self._password}@{place}/{USER}"

    async def _is_ready(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url, timeout=5)
        except POSTGRES_ERRORS:
            return False
        await connection.close()
        return True
