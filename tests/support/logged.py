"""What the services have logged, wherever the loggers of a test run write it."""

import pytest


class Logged:
    """The lines of one test."""

    def __init__(self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
        self._caplog = caplog
        self._capfd = capfd
        self._printed: list[str] = []

    def lines(self) -> list[str]:
        """Return all of them up to now."""
        out, err = self._capfd.readouterr()
        self._printed += [*out.splitlines(), *err.splitlines()]
        return [*self._printed, *self._caplog.messages]

    def text(self) -> str:
        """Return all of them as one text."""
        return "\n".join(self.lines())

    def count(self, event: str) -> int:
        """Return how often something was said."""
        return sum(event in line for line in self.lines())

    def last(self, event: str, words: str) -> bool:
        """Tell whether what was said last of an event has these words, `ok` standing for any."""
        said = [line for line in self.lines() if event in line]
        return bool(said) and (words == "ok" or words in said[-1])


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Logged:
    """What is logged during a test."""
    return Logged(caplog, capfd)
