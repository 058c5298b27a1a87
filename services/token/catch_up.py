"""Read your own writes: one bounded look whether the projection is behind the log."""

import asyncio

from services.token.projection import Projection
from shared.failures import TransientFailure
from shared.feed_client import FeedClient
from shared.tasks import end
from shared.token_bucket import TokenBucket

LOOK_SECONDS = 0.005


class CatchUp:
    """Waits until the projection has reached the head, for one and for all who ask meanwhile.

    Whoever guesses credentials must not turn this into load: a token bucket limits how often the
    registry is asked, and those who find it empty are answered from what is known.
    """

    def __init__(
        self, projection: Projection, feed: FeedClient, *, timeout_seconds: float, per_second: float
    ) -> None:
        self._projection = projection
        self._feed = feed
        self._timeout_seconds = timeout_seconds
        self._allowance = TokenBucket(max(1.0, per_second), per_second)
        self._running: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """End a look that is under way."""
        if self._running is not None:
            await end(self._running)

    async def __call__(self) -> None:
        """Return when the projection is at the head, the time is up, or the limit is reached."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                # One that is under way may have asked for the head before this caller's write.
                if self._running is not None:
                    await asyncio.wait([self._running])
                if self._running is None or self._running.done():
                    if not self._allowance.take():
                        return
                    self._running = asyncio.create_task(self._reach_head())
                await asyncio.wait([self._running])
        except TimeoutError:
            return

    async def _reach_head(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                head = await self._feed.head()
                while True:
                    cursor = self._projection.cursor()
                    if cursor.log_epoch == head.log_epoch and cursor.position >= head.position:
                        return
                    await asyncio.sleep(LOOK_SECONDS)
        except (TransientFailure, TimeoutError):
            # The registry is not needed to answer: what is known decides.
            return
