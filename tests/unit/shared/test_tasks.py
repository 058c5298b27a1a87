"""Tasks end, also those that miss being cancelled."""

import asyncio

import pytest

from shared import tasks
from shared.tasks import end


async def test_a_task_that_missed_its_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one does that was cancelled at the very moment in which what it waited for failed."""
    monkeypatch.setattr(tasks, "AGAIN_SECONDS", 0.01)
    missed = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            missed.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end(task)

    assert missed.is_set()
    assert task.cancelled()


async def test_what_a_task_raised_stays_with_it() -> None:
    """Whoever ends a task wants it gone; its failure is told elsewhere."""

    async def failing() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    await end(task)

    assert isinstance(task.exception(), ValueError)


async def test_nothing_to_end_ends_nothing() -> None:
    """Of tasks that have ended already there is nothing to wait for."""
    task = asyncio.create_task(asyncio.sleep(0))
    await task

    await end(task)
    await end()
