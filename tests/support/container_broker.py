"""RabbitMQ in a container."""

import httpx

from tests.support.containers import RunningContainer, new_container
from tests.support.ports import answers
from tests.support.private_broker import AMQP_GREETING, START_SECONDS, USER

IMAGE = "rabbitmq:4-management"
AMQP_PORT = 5672
MANAGEMENT_PORT = 15672


class ContainerBroker(RunningContainer):
    """A RabbitMQ whose virtual hosts are made through its management API."""

    def __init__(self) -> None:
        container = new_container(IMAGE, AMQP_PORT, MANAGEMENT_PORT)
        super().__init__(container, seconds=START_SECONDS)

    async def add_vhost(self, name: str) -> str:
        """Make a virtual host and return its URL."""
        await self._ask("PUT", name)
        return f"amqp://{USER}:{USER}@{self._host()}:{self._port(AMQP_PORT)}/{name}"

    async def delete_vhost(self, name: str) -> None:
        """Remove a virtual host with all that is in it; its connections are closed."""
        await self._ask("DELETE", name)

    async def _is_ready(self) -> bool:
        host = self._host()
        return await answers(self._port(AMQP_PORT), AMQP_GREETING, host=host) and await answers(
            self._port(MANAGEMENT_PORT), b"GET / HTTP/1.0\r\n\r\n", host=host
        )

    async def _ask(self, method: str, name: str) -> None:
        async with httpx.AsyncClient(auth=(USER, USER), trust_env=False, timeout=30) as client:
            url = f"http://{self._host()}:{self._port(MANAGEMENT_PORT)}/api/vhosts/{name}"
            (await client.request(method, url)).raise_for_status()

    def _host(self) -> str:
        host: str = self._container.get_container_host_ip()
        return host

    def _port(self, port: int) -> int:
        return int(self._container.get_exposed_port(port))
