"""A secret that is read at each use: its file may come late, and be replaced."""

from collections.abc import Callable
from contextlib import suppress

from shared.logs import get_logger
from shared.recurring import Recurring
from shared.sections import Bus, bus_url
from shared.setting_values import ConfigurationError

log = get_logger(__name__)


class SecretSource:
    """Reads a secret, and keeps what was read: a file that goes away ends nothing that works.

    `named` is what holds it: a file, or a setting. The log has it when it cannot be read; not, with
    `is_said`, as long as it never could: then whoever needs it says so.
    """

    def __init__(self, read: Callable[[], str], named: str, *, is_said: bool = False) -> None:
        self.named = named
        self._read = read
        self._is_said = is_said
        self._kept: str | None = None
        self._trouble: str | None = None
        self._unread = Recurring(log, "secret not read", over="secret read again")

    def __call__(self) -> str:
        """Return the secret as it is, or as it was. Raises ConfigurationError if it never was."""
        try:
            self._kept = self._read()
        except ConfigurationError as error:
            self._trouble = str(error)
            if self._kept is not None or not self._is_said:
                self._unread.say(self._trouble)
            if self._kept is None:
                raise
        else:
            self._unread.over()
            self._trouble = None
        return self._kept

    @property
    def trouble(self) -> str | None:
        """Why it cannot be read now, None when it can."""
        with suppress(ConfigurationError):
            self()
        return self._trouble


# What does not change, or what is read again.
Secret = str | SecretSource


def bus_source(bus: Bus) -> SecretSource | None:
    """Return where the URL of RabbitMQ is read, None without RabbitMQ."""
    if bus.url is None and bus.url_file is None:
        return None
    named = "OAUTHAPPS_BUS__URL" if bus.url is not None else str(bus.url_file)
    return SecretSource(lambda: bus_url(bus) or "", named, is_said=True)


def trouble_of(*sources: SecretSource | None) -> str | None:
    """Return why the first of them that cannot be read cannot be, None when all can."""
    troubles = (one.trouble for one in sources if one is not None)
    return next((one for one in troubles if one is not None), None)
