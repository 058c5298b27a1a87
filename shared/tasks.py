"""Ending tasks for certain."""

import asyncio
from typing import Any

# Longer than what a task may need to put things in order after its cancellation.
AGAIN_SECONDS = 1.5


async def end(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks and return when all of them have ended; what they raised stays with them.

    A cancellation can get lost: `asyncio.wait_for` of Python 3.11, which libraries use, prefers the
    result or failure that arrived at the same moment, and a loop that tries again goes on. So a
    task that is still there after a while is cancelled again.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
