"""Removing what is kept for a while only, a batch at a time, beside everything else."""

import asyncio
from collections.abc import Awaitable, Callable

from shared.interruptions import Interruptions
from shared.logs import get_logger
from shared.postgres import POSTGRES_ERRORS

log = get_logger(__name__)


async def prune_forever(
    prune: Callable[[], Awaitable[int]], *, batch: int, seconds: float, what: str
) -> None:
    """Call `prune` until it removes less than a batch, every so many seconds, until cancelled."""
    unpruned = Interruptions(log, f"{what} not pruned", over=f"{what} pruned again")
    while True:
        try:
            while await prune() == batch:
                pass
        except POSTGRES_ERRORS as error:
            unpruned.note(error)
        else:
            unpruned.over()
        await asyncio.sleep(seconds)
