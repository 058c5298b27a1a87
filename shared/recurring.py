"""A trouble that comes again with every try: said when it begins, now and then, and at its end."""

import time
from collections.abc import Callable
from typing import Any

import structlog

# Whoever looks at the log of the last hour finds it.
AGAIN_SECONDS = 600.0


class Recurring:
    """Says the same reason seldom, however often it is told; another one at once.

    `over` is what is said at the end; None where others say it.
    """

    def __init__(
        self,
        log: structlog.stdlib.BoundLogger,
        event: str,
        *,
        over: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._event = event
        self._over = over
        self._clock = clock
        self._reason: str | None = None
        self._said_at = 0.0

    def say(self, reason: str, **more: Any) -> None:
        """Log a reason, unless it was said a moment ago."""
        now = self._clock()
        if reason != self._reason or now - self._said_at >= AGAIN_SECONDS:
            self._log.warning(self._event, reason=reason, **more)
            self._reason, self._said_at = reason, now

    def over(self) -> None:
        """Log that it is over, if it was said."""
        if self._reason is not None and self._over is not None:
            self._log.info(self._over)
        self._reason = None
