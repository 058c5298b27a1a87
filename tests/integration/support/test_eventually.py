"""Waiting for a condition says what it saw last."""

import pytest

from tests.support.eventually import eventually


async def test_it_returns_the_first_true_value() -> None:
    """Callers go on with what they waited for."""
    values = iter([None, 0, "there"])
    assert await eventually(lambda: next(values)) == "there"


async def test_it_says_the_last_value_when_time_is_up() -> None:
    """A red test must tell more than that it took too long."""
    with pytest.raises(AssertionError, match=r"last value: \[\]"):
        await eventually(list, seconds=0.05)


async def test_a_failed_assertion_means_not_yet() -> None:
    """So several things can be asked of one state."""
    attempts = []

    def condition() -> bool:
        attempts.append(1)
        assert len(attempts) > 2
        return True

    assert await eventually(condition)
