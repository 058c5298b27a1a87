"""Asking the registry for people: one question for all senders that wait.

Nothing is remembered: whoever asks is answered by a question that was put after they asked, so that
an address that was changed, or an owner who was disabled, is heeded by the next mail.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from shared.feed_client import Recipient
from shared.tasks import end


class Directory(Protocol):
    """Who knows people's present addresses."""

    async def recipients(self, user_ids: Sequence[str]) -> Mapping[str, Recipient]:
        """Return those there are. Raises TransientFailure."""


class Recipients:
    """Puts together what is asked while a question is under way. Close it at the end."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._waiting: dict[str, asyncio.Future[Recipient | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """Leave whoever waits without an answer."""
        if self._asking is not None:
            await end(self._asking)

    async def recipient(self, user_id: str) -> Recipient | None:
        """Return a person, or None when there is no such user. Raises TransientFailure."""
        answer = self._waiting.get(user_id)
        if answer is None:
            answer = self._waiting[user_id] = asyncio.get_running_loop().create_future()
            # Whoever waits may be gone when it fails.
            answer.add_done_callback(lambda one: one.cancelled() or one.exception())
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        # Others may wait for the same one.
        return await asyncio.shield(answer)

    async def _ask(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, {}
            try:
                found = await self._directory.recipients(list(asked))
            except Exception as error:  # noqa: BLE001 - it is for those who asked
                for answer in asked.values():
                    answer.set_exception(error)
            else:
                for user_id, answer in asked.items():
                    answer.set_result(found.get(user_id))
