"""A log in memory, for those who follow one."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.envelope import Envelope, Page
from shared.failures import TransientFailure
from tests.unit.token.factories import envelope


class ToldFeed:
    """A log that grows when a test says so."""

    def __init__(self) -> None:
        self.epoch = str(uuid.uuid4())
        self.envelopes: list[Envelope] = []
        self.reads = 0
        self.lost = False

    def restore(self) -> None:
        """Become another history."""
        self.epoch = str(uuid.uuid4())
        self.envelopes = []

    def tell(self, told: Any, *, ago: timedelta = timedelta()) -> None:
        """Append what a factory told, as of so long ago."""
        one = envelope(len(self.envelopes) + 1, told)
        self.envelopes.append(replace(one, time=datetime.now(UTC) - ago))

    async def read(self, after: int, *, wait: float = 0.0) -> Page:
        self.reads += 1
        if self.lost:
            raise TransientFailure("the line is cut")
        epoch = self.epoch
        for _ in range(int(wait * 100)):
            if len(self.envelopes) > after or self.epoch != epoch:
                break
            await asyncio.sleep(0.01)
        return Page(
            log_epoch=self.epoch, head=len(self.envelopes), envelopes=self.envelopes[after:]
        )
