"""What is read when somebody looks, beside what was counted."""

import asyncio
from collections.abc import Iterable

import pytest
from prometheus_client.metrics_core import Metric

from shared import metrics
from shared.metrics import VERSION, Reading, exposition, observing

ANSWER = Reading("oauthapps_test_answer", "Of a test", ["question"])


async def shown() -> list[str]:
    """Return the lines about the test's own reading."""
    text = (await exposition()).decode()
    return [line for line in text.splitlines() if line.startswith("oauthapps_test_")]


async def test_a_reading_is_shown_as_long_as_there_is_somebody_to_ask() -> None:
    """A figure that nobody can know any more is no figure."""

    async def observe() -> Iterable[Metric]:
        return [ANSWER.of(42, "life"), ANSWER.of(7, "days")]

    async with observing(observe):
        assert await shown() == [
            'oauthapps_test_answer{question="life"} 42.0',
            'oauthapps_test_answer{question="days"} 7.0',
        ]
    assert await shown() == []


async def test_the_parts_of_one_reading_stand_together() -> None:
    """Two services in one process tell of their readiness; a name stands once (text format)."""

    async def one() -> Iterable[Metric]:
        return [ANSWER.of(1, "a")]

    async def other() -> Iterable[Metric]:
        return [ANSWER.of(2, "b")]

    async with observing(one, other):
        text = (await exposition()).decode()

    assert text.count("# TYPE oauthapps_test_answer gauge") == 1
    assert text.index('"a"} 1.0\noauthapps_test_answer{question="b"} 2.0') > 0


async def test_one_that_hangs_or_fails_takes_nothing_from_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A database that is away is when somebody looks."""
    monkeypatch.setattr(metrics, "ANSWER_SECONDS", 0.05)

    async def fine() -> Iterable[Metric]:
        return [ANSWER.of(1, "fine")]

    async def broken() -> Iterable[Metric]:
        raise ValueError("hunter2")

    async def hanging() -> Iterable[Metric]:
        await asyncio.Event().wait()
        return []

    async with observing(broken, hanging, fine):
        assert await shown() == ['oauthapps_test_answer{question="fine"} 1.0']


async def test_the_version_is_told() -> None:
    """During an upgrade two of them run."""
    assert f'oauthapps_build_info{{version="{VERSION}"}} 1.0' in (await exposition()).decode()
