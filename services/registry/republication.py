"""Publishing a part of the log again, for subscribers that lost what they were told."""

import asyncio
from collections.abc import Callable

from services.registry.feed import Feed
from services.registry.relay import OpenPublisher

PAGE_SIZE = 500


async def republish(
    feed: Feed,
    open_publisher: OpenPublisher,
    *,
    first: int,
    last: int,
    window: int,
    on_progress: Callable[[int], None] = lambda _position: None,
) -> int:
    """Publish the events from `first` to `last` in their order, and return how many there were.

    The relay and its cursor take no part: subscribers of ours drop what they know, others have to
    do so by `sequence` (docs/events.md). Raises TransientFailure.
    """
    published, position = 0, first - 1
    async with open_publisher() as publisher:
        while position < last:
            page = await feed.page(position, min(PAGE_SIZE, last - position), 0)
            if not page.envelopes:
                break
            for start in range(0, len(page.envelopes), window):
                run = page.envelopes[start : start + window]
                await asyncio.gather(*(publisher.publish(one, page.log_epoch) for one in run))
                published += len(run)
                position = run[-1].position
                on_progress(position)
    return published
