"""Clients that ask for tokens all the time, and count what they get."""

import asyncio
from collections import Counter
from types import TracebackType
from typing import Self

import httpx

from tests.e2e.system import Credentials
from tests.support.eventually import eventually

CLIENTS = 4
PAUSE_SECONDS = 0.02
REFUSED_SECONDS = 60.0


class Load:
    """Four clients, each with a connection that it keeps and one request at a time.

    `outcomes` counts every request once: the status of its answer, or what broke its connection.
    A connection that is refused has carried no request: a client tries again at once, as HTTP
    clients do, and it counts in `refused` alone. Everything but 200 has failed; it is not repeated.
    """

    def __init__(self, url: str, application: Credentials) -> None:
        self._url = f"{url}/oauth2-token"
        self._credentials = (application.client_id, application.client_secret)
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.outcomes: Counter[str] = Counter()
        self.refused = 0
        # What clients were told who got no token.
        self.said: set[str] = set()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask_on()) for _ in range(CLIENTS)]
        await self.goes_on()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        await asyncio.gather(*self._tasks)

    @property
    def failed(self) -> dict[str, int]:
        """What requests got that did not get a token."""
        return {what: times for what, times in self.outcomes.items() if what != "200"}

    async def goes_on(self, more: int = 100) -> None:
        """Wait until so many more requests got a token."""
        wanted = self.outcomes["200"] + more
        await eventually(lambda: self.outcomes["200"] >= wanted, 60)

    async def _ask_on(self) -> None:
        async with httpx.AsyncClient(timeout=30) as http:
            while not self._ended.is_set():
                self.outcomes[await self._outcome(http)] += 1
                await asyncio.sleep(PAUSE_SECONDS)

    async def _outcome(self, http: httpx.AsyncClient) -> str:
        async with asyncio.timeout(REFUSED_SECONDS):
            while True:
                try:
                    answer = await http.post(
                        self._url,
                        data={"grant_type": "client_credentials"},
                        auth=self._credentials,
                    )
                except httpx.ConnectError:
                    self.refused += 1
                    await asyncio.sleep(PAUSE_SECONDS)
                except httpx.HTTPError as error:
                    return type(error).__name__
                else:
                    if answer.status_code != 200:
                        self.said.add(answer.text)
                    return str(answer.status_code)
