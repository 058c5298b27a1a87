"""So many requests a second, whatever the answers do.

`python -m bench.steady URL BODY RATE SECONDS`, where BODY is a file with the form to be sent. Each
request is due at its moment, and its time counts from then: a server that falls behind is not
spared the requests that would have come meanwhile. A connection carries one request at a time; when
all are busy, what is due waits, and its time runs. Prints milliseconds as JSON.
"""

import asyncio
import json
import sys
from collections import deque
from pathlib import Path
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

import uvloop

CONNECTIONS = 64
# How often it is looked what is due.
TICK_SECONDS = 0.001
END_SECONDS = 30


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, generator: "Generator") -> None:
        self._generator = generator
        self._buffer = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready."""
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, due: float) -> None:
        """Send a request that was due at a moment."""
        self._due = due
        self._transport.write(self._generator.request)

    def data_received(self, data: bytes) -> None:
        """Take an answer, of which the head says the length."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
        if len(body) >= length:
            self._buffer = b""
            self._generator.answered(self, self._due, is_good=head[9:12] == b"200")


class Generator:
    """Sends what is due."""

    def __init__(self, url: str, body: bytes, rate: float, seconds: float) -> None:
        self._address = urlsplit(url)
        self._rate = rate
        self._count = int(rate * seconds)
        self.request = (
            f"POST {self._address.path} HTTP/1.1\r\nHost: {self._address.netloc}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._idle: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._times: list[float] = []
        self._failed = 0
        self._all_answered = asyncio.Event()

    def answered(self, connection: Connection, due: float, *, is_good: bool) -> None:
        """Note an answer; its connection is free again."""
        self._times.append(perf_counter() - due)
        self._failed += not is_good
        if len(self._times) == self._count:
            self._all_answered.set()
        if self._waiting:
            connection.ask(self._waiting.popleft())
        else:
            self._idle.append(connection)

    async def run(self) -> dict[str, float]:
        """Return quantiles in milliseconds, the number of answers, and how many were no 200."""
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            _, connection = await loop.create_connection(
                lambda: Connection(self), self._address.hostname or "", self._address.port or 80
            )
            self._idle.append(connection)
        begun, sent = perf_counter(), 0
        while sent < self._count:
            now = perf_counter()
            while sent < self._count and (due := begun + sent / self._rate) <= now:
                sent += 1
                if self._idle:
                    self._idle.pop().ask(due)
                else:
                    self._waiting.append(due)
            await asyncio.sleep(TICK_SECONDS)
        async with asyncio.timeout(END_SECONDS):
            await self._all_answered.wait()
        # The first tenth warms up.
        times = sorted(self._times[self._count // 10 :])
        quantiles = {f"p{one}": 1000 * times[len(times) * one // 100] for one in (50, 99)}
        return {**quantiles, "answers": len(self._times), "failed": self._failed}


if __name__ == "__main__":
    url, place, rate, seconds = sys.argv[1:]
    generator = Generator(url, Path(place).read_bytes(), float(rate), float(seconds))
    print(json.dumps(uvloop.run(generator.run())))
