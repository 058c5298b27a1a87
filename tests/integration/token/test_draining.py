"""A service that is told to stop while others send it requests: nobody is turned away."""

import asyncio
import signal
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlencode

import httpx
import pytest

from tests.integration.token.house import House
from tests.integration.token.test_processes import served
from tests.support.eventually import eventually


@dataclass
class Crowd:
    """Clients that ask again and again until nobody listens any more."""

    port: int
    request: bytes
    answered: Counter[bytes] = field(default_factory=Counter)
    said_goodbye: int = 0

    async def ask(self, *, keeps_alive: bool) -> None:
        """Ask until the port is closed. What was begun and not answered is raised."""
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionRefusedError:
                return
            is_last = False
            while not is_last:
                writer.write(self.request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.answered[head.split()[1]] += 1
                says_goodbye = b"connection: close" in head
                self.said_goodbye += says_goodbye
                is_last = says_goodbye or not keeps_alive
            writer.close()


def crowd_of(house: House) -> Crowd:
    body = urlencode(house.request())
    head = (
        f"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return Crowd(house.port, f"{head}{body}".encode())


@pytest.mark.parametrize("workers", [1, 2])
async def test_whoever_gets_a_connection_gets_an_answer(
    house: House, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after SIGTERM, on connections old and new, to the moment when the port is closed."""
    monkeypatch.setenv("OAUTHAPPS_SERVER__DRAIN", "500ms")
    house.make_keys()
    await house.registry.tell(house.application.created())
    async with served(house, workers) as (process, _):
        crowd = crowd_of(house)
        async with asyncio.TaskGroup() as clients:
            for number in range(6):
                clients.create_task(crowd.ask(keeps_alive=number % 2 == 0))
            await eventually(lambda: crowd.answered.total() > 100)
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0

    assert set(crowd.answered) == {b"200"}
    assert crowd.said_goodbye > 0


async def test_it_says_at_once_that_it_is_not_ready(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And goes on answering, until a second Ctrl-C says that somebody waits for its end."""
    monkeypatch.setenv("OAUTHAPPS_SERVER__DRAIN", "30s")
    house.make_keys()
    await house.registry.tell(house.application.created())
    async with served(house, 1) as (process, http):
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: _says(http, "/readyz", 503))
        answer = await http.post("/token", data=house.request())

        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert (await http.get("/livez")).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert (await http.get("/livez")).status_code == 200
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            assert await process.wait() == 0


async def _says(http: httpx.AsyncClient, path: str, status: int) -> bool:
    return (await http.get(path)).status_code == status
