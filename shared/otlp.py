"""Spans on their way to a collector: OTLP over HTTP, in the background, a few at a time.

A collector that is away, slow or refuses us costs spans and one line of the log, and nobody waits.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Generic, TypeVar

import httpx

from shared.logs import get_logger
from shared.trust import trusted
from shared.web import background

# Of the oldest there is no more to tell when so many wait.
CAPACITY = 4096
# To encode them must not hold up requests.
BATCH = 64
GATHER_SECONDS = 1.0
ANSWER_SECONDS = 5.0
RETRY_LONGEST_SECONDS = 60.0
# How long the end of a service may wait for the last ones.
LAST_SECONDS = 1.0
SAY_AGAIN_SECONDS = 600.0
# The collector will take it later (OTLP 1.5, "Failures").
_LATER = frozenset({429, 502, 503, 504})
T = TypeVar("T")
log = get_logger(__name__)


class Outbox(Generic[T]):
    """What has ended and was not told of yet."""

    def __init__(
        self, url: str, headers: Mapping[str, str], encode: Callable[[Sequence[T]], bytes]
    ) -> None:
        self._url = url
        self._headers = {**headers, "Content-Type": "application/x-protobuf"}
        self._encode = encode
        self._waiting: deque[T] = deque(maxlen=CAPACITY)
        self._arrived = asyncio.Event()
        self._under_way: list[T] = []
        # At the end, too, one batch after the other: what is cut off would be told twice.
        self._turn = asyncio.Lock()
        self._trouble: str | None = None
        self._said_at = -float("inf")
        self._lost = 0

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send as long as the block lasts, and what is left at its end."""
        client = httpx.AsyncClient(
            headers=self._headers, verify=trusted(), timeout=ANSWER_SECONDS, trust_env=False
        )
        async with client as http, background(self._send_forever(http)):
            try:
                yield
            finally:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LAST_SECONDS):
                        while self._has_more() and await self._send(http):
                            pass

    def put(self, span: T) -> None:
        """Take one; where too many wait, the oldest makes room."""
        self._lost += len(self._waiting) == CAPACITY
        self._waiting.append(span)
        self._arrived.set()

    async def _send_forever(self, http: httpx.AsyncClient) -> None:
        pause = GATHER_SECONDS
        while True:
            await self._arrived.wait()
            await asyncio.sleep(pause)
            self._arrived.clear()
            while self._has_more():
                if await self._send(http):
                    pause = GATHER_SECONDS
                else:
                    pause = min(pause * 2, RETRY_LONGEST_SECONDS)
                    self._arrived.set()
                    break

    def _has_more(self) -> bool:
        return bool(self._under_way or self._waiting)

    async def _send(self, http: httpx.AsyncClient) -> bool:
        """Send a batch; False where the collector may take it later."""
        async with self._turn:
            return await self._send_batch(http)

    async def _send_batch(self, http: httpx.AsyncClient) -> bool:
        while self._waiting and len(self._under_way) < BATCH:
            self._under_way.append(self._waiting.popleft())
        if not self._under_way:
            return True
        try:
            # For all of it: the client's own bound is for each part of an answer, and starts anew.
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await http.post(self._url, content=self._encode(self._under_way))
        except (httpx.HTTPError, TimeoutError) as error:
            self._say(f"no answer ({type(error).__name__})")
            return False
        except Exception as error:  # noqa: BLE001 - one batch that surprises us must not be the last
            self._give_up(f"unexpected {type(error).__name__}")
            return True
        if answer.status_code in _LATER:
            self._say(f"status {answer.status_code}")
            return False
        if answer.is_success:
            self._under_way = []
            self._say(None)
        else:
            self._give_up(f"status {answer.status_code}")
        return True

    def _give_up(self, trouble: str) -> None:
        self._lost += len(self._under_way)
        self._under_way = []
        self._say(trouble)

    def _say(self, trouble: str | None) -> None:
        """Log what became of a batch: a trouble seldom, and its end where it was told."""
        now = asyncio.get_running_loop().time()
        if trouble is None:
            if self._trouble is not None:
                log.info("traces are exported again", lost=self._lost)
            self._trouble = None
        elif now - self._said_at > SAY_AGAIN_SECONDS:
            log.warning("traces not exported", reason=trouble, lost=self._lost)
            self._trouble, self._said_at = trouble, now
