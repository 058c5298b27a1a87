"""A secret that is read at each use: its file may come late, and be replaced."""

from collections.abc import Callable

from shared.config import ConfigurationError
from shared.logs import get_logger
from shared.recurring import Recurring

log = get_logger(__name__)


class SecretSource:
    """Reads a secret, and keeps what was read: a file that goes away ends nothing that works."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read
        self._kept: str | None = None
        self._unread = Recurring(log, "secret not read", over="secret read again")

    def __call__(self) -> str:
        """Return the secret as it is, or as it was. Raises ConfigurationError if it never was."""
        try:
            self._kept = self._read()
        except ConfigurationError as error:
            if self._kept is None:
                # Whoever wants to use it says so.
                raise
            self._unread.say(str(error))
        else:
            self._unread.over()
        return self._kept

    @property
    def trouble(self) -> str | None:
        """Why it cannot be read now, None when it can."""
        try:
            self._read()
        except ConfigurationError as error:
            return str(error)
        return None


def trouble_of(*sources: SecretSource | None) -> str | None:
    """Return why the first of them that cannot be read cannot be, None when all can."""
    troubles = (one.trouble for one in sources if one is not None)
    return next((one for one in troubles if one is not None), None)
