"""RabbitMQ in a container, where a Docker engine answers and has the image already."""

from types import TracebackType
from typing import Any, Self

import docker  # type: ignore[import-untyped]
import httpx
from docker.errors import DockerException  # type: ignore[import-untyped]
from testcontainers.rabbitmq import RabbitMqContainer

IMAGE = "rabbitmq:4-management"
AMQP_PORT = 5672
MANAGEMENT_PORT = 15672
USER = "guest"


class ContainerBroker:
    """A RabbitMQ whose virtual hosts are made through its management API."""

    def __init__(self) -> None:
        self._container: Any = RabbitMqContainer(IMAGE).with_exposed_ports(
            AMQP_PORT, MANAGEMENT_PORT
        )

    @staticmethod
    def is_at_hand() -> bool:
        """Tell whether nothing has to be downloaded."""
        try:
            client = docker.from_env(timeout=5)
        except DockerException:
            return False
        try:
            client.images.get(IMAGE)
        except DockerException:
            return False
        else:
            return True
        finally:
            client.close()

    async def __aenter__(self) -> Self:
        self._container.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._container.stop()

    async def add_vhost(self, name: str) -> str:
        """Make a virtual host and return its URL."""
        await self._ask("PUT", name)
        return f"amqp://{USER}:{USER}@{self._place(AMQP_PORT)}/{name}"

    async def delete_vhost(self, name: str) -> None:
        """Remove a virtual host with all that is in it; its connections are closed."""
        await self._ask("DELETE", name)

    async def _ask(self, method: str, name: str) -> None:
        async with httpx.AsyncClient(auth=(USER, USER), trust_env=False) as client:
            url = f"http://{self._place(MANAGEMENT_PORT)}/api/vhosts/{name}"
            (await client.request(method, url)).raise_for_status()

    def _place(self, port: int) -> str:
        host = self._container.get_container_host_ip()
        return f"{host}:{self._container.get_exposed_port(port)}"
