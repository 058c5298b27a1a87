"""Waiting for what becomes true, instead of sleeping and hoping."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

FIRST_SECONDS = 0.01
LAST_SECONDS = 0.1


async def eventually(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """Return the condition's first true value; an AssertionError in it means: not yet.

    Raises AssertionError with the last value after so many seconds.
    """
    last: object = "nothing: it did not answer once"
    cause: AssertionError | None = None
    begun = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    value = condition()
                    if inspect.isawaitable(value):
                        value = await value
                except AssertionError as error:
                    last, cause = error, error
                else:
                    last, cause = value, None
                    if value:
                        return value
                # Seldom where it takes long anyway: to ask takes from whoever is waited for.
                waited = asyncio.get_running_loop().time() - begun
                await asyncio.sleep(min(max(FIRST_SECONDS, waited / 10), LAST_SECONDS))
    except TimeoutError:
        message = f"not within {seconds} s; last value: {last!r}"
        raise AssertionError(message) from cause
