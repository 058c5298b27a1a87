"""What Postgres does to a job that tries again and again: each job says it once."""

import asyncpg
import structlog

from shared.database_words import reason_of
from shared.postgres import TRANSIENT_ERRORS
from shared.recurring import Recurring

# These are about one statement; whatever else is transient is about the database as a whole.
_OF_STATEMENTS = (
    asyncpg.DiskFullError,
    asyncpg.QueryCanceledError,
    asyncpg.ReadOnlySQLTransactionError,
    # Of one that takes too long, while all others are answered.
    TimeoutError,
)


class Interruptions:
    """Says why a job cannot go on, unless `DatabaseCheck` says it for all that share a database."""

    def __init__(self, log: structlog.stdlib.BoundLogger, event: str, *, over: str) -> None:
        self._log = log
        self._event = event
        self._recurring = Recurring(log, event, over=over)

    def note(self, error: Exception) -> None:
        """Take down what the job met."""
        if isinstance(error, TRANSIENT_ERRORS) and not isinstance(error, _OF_STATEMENTS):
            self._log.debug(self._event, reason=reason_of(error))
        else:
            self._recurring.say(reason_of(error))

    def over(self) -> None:
        """Take down that the job has got through."""
        self._recurring.over()
