"""One question for all senders that wait, and nothing remembered."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from services.notifier.recipients import Recipients
from shared.feed_client import Recipient, RegistryUnavailable
from tests.unit.notifier.factories import recipient


class Registry:
    """Answers when it may; what it says is as it is at that moment."""

    def __init__(self) -> None:
        self.people = {one: recipient(user_id=one) for one in ("ada", "bob")}
        self.asked: list[Sequence[str]] = []
        self.may_answer = asyncio.Event()
        self.away = False

    async def recipients(self, user_ids: Sequence[str]) -> Mapping[str, Recipient]:
        known = dict(self.people)
        self.asked.append(user_ids)
        await self.may_answer.wait()
        if self.away:
            raise RegistryUnavailable("registry: no answer")
        return known


async def settle() -> None:
    """Let everybody get to where they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_asked_meanwhile_is_asked_at_once_afterwards() -> None:
    """By one question, each person once; and never answered by the one that was under way."""
    registry = Registry()
    recipients = Recipients(registry)
    first = asyncio.create_task(recipients.recipient("ada"))
    await settle()
    changed = recipient(user_id="ada", email="new@example.com")
    registry.people["ada"] = changed
    others = [asyncio.create_task(recipients.recipient(one)) for one in ("ada", "bob", "ada", "x")]
    await settle()
    registry.may_answer.set()

    answers = await asyncio.gather(*others)

    assert registry.asked == [["ada"], ["ada", "bob", "x"]]
    assert (await first) == recipient(user_id="ada")
    assert answers == [changed, registry.people["bob"], changed, None]


async def test_whoever_stops_waiting_disturbs_nobody() -> None:
    """A sender whose time is up; the same question may be another's too."""
    registry = Registry()
    recipients = Recipients(registry)
    one, other = (asyncio.create_task(recipients.recipient("ada")) for _ in range(2))
    await settle()
    one.cancel()
    await settle()
    registry.may_answer.set()

    assert await other == registry.people["ada"]


async def test_a_failure_is_told_to_all_who_asked_and_the_next_is_asked_anew() -> None:
    """Each of them tries again later."""
    registry = Registry()
    registry.away = True
    registry.may_answer.set()
    recipients = Recipients(registry)
    failed = await asyncio.gather(
        recipients.recipient("ada"), recipients.recipient("bob"), return_exceptions=True
    )
    registry.away = False

    assert [type(one) for one in failed] == [RegistryUnavailable] * 2
    assert await recipients.recipient("ada") == registry.people["ada"]


async def test_the_end_leaves_nobody_asking() -> None:
    """The service stops while the registry thinks."""
    registry = Registry()
    recipients = Recipients(registry)
    waiting = asyncio.create_task(recipients.recipient("ada"))
    await settle()
    waiting.cancel()
    await recipients.aclose()

    with pytest.raises(asyncio.CancelledError):
        await waiting
