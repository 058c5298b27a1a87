"""Mail about tokens that were obtained from new addresses."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from services.notifier.deliveries import Deliveries, Filter
from services.notifier.domain import Rule
from services.notifier.first_uses import FirstUses
from shared.feed_client import RegistryUnavailable
from shared.postgres import Pool
from shared.usage import FirstUse
from shared.usage import FirstUses as Listed
from shared.web import background
from tests.integration.notifier.house import DOMAIN, EPOCH, Directory, sending, settings
from tests.integration.notifier.test_intake import OTHER_EPOCH
from tests.support.eventually import eventually
from tests.support.smtp_server import SmtpServer
from tests.unit.notifier.factories import CLIENT_ID, OWNER, RULES

ON = [replace(one, enabled=True) for one in RULES]


class Registry:
    """A list as the registry keeps it, some at a time, and a registry that can be away."""

    def __init__(self, *items: FirstUse) -> None:
        self.items = list(items)
        self.epoch = EPOCH
        self.asked: list[int] = []
        self.reachable = True

    async def first_uses(self, after: int) -> Listed:
        self.asked.append(after)
        await asyncio.sleep(0)
        if not self.reachable:
            raise RegistryUnavailable("registry: no answer")
        items = [one for one in self.items if one.number > after]
        return Listed(log_epoch=self.epoch, items=items[:2])


def used(number: int, *, ago: timedelta = timedelta()) -> FirstUse:
    """Return an entry of the list."""
    return FirstUse(
        number=number,
        id=str(uuid.uuid4()),
        application_id=str(uuid.uuid4()),
        client_id=CLIENT_ID,
        organization_id=str(uuid.uuid4()),
        owner_id=OWNER,
        name="CI",
        address="203.0.113.7",
        seen_at=datetime.now(UTC) - ago,
    )


def first_uses(
    pool: Pool, deliveries: Deliveries, registry: Registry, rules: Sequence[Rule] = ON
) -> FirstUses:
    return FirstUses(
        pool,
        deliveries,
        registry,
        lambda: rules,
        max_event_age=timedelta(days=3),
        message_id_domain=DOMAIN,
        on_recorded=lambda: None,
    )


async def states(deliveries: Deliveries) -> dict[str, str]:
    """Return the state of every delivery, by its event's id."""
    return {row["event_id"]: row["state"] for row in await deliveries.page(Filter(), 100)}


async def test_the_owner_reads_from_where_the_application_was_used(
    pool: Pool, deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """Within seconds, while the rule is on."""
    registry = Registry(used(1))
    async with (
        sending(deliveries, Directory(), settings(mail_server)) as senders,
        background(first_uses(pool, deliveries, registry).watch()),
    ):
        await eventually(lambda: states(deliveries))
        senders.wake()
        await eventually(lambda: len(mail_server.taken) == 1)

    (mail,) = mail_server.taken
    assert str(mail.message["Subject"]) == "First use from a new address: CI"
    assert "203.0.113.7" in mail.message.as_string()


async def test_each_is_told_once_whoever_asks(pool: Pool, deliveries: Deliveries) -> None:
    """More than one answer holds, read by several processes at once."""
    registry = Registry(*(used(n) for n in range(1, 8)))
    counts = await asyncio.gather(
        *(first_uses(pool, deliveries, registry).look() for _ in range(4))
    )

    assert sum(counts) == 7
    assert set(await states(deliveries)) == {one.id for one in registry.items}


async def test_nobody_asks_while_no_rule_is_about_it(pool: Pool, deliveries: Deliveries) -> None:
    """And when it is switched on, what is old by then is recorded and not sent."""
    old, new = used(1, ago=timedelta(days=4)), used(2)
    registry = Registry(old, new)
    assert await first_uses(pool, deliveries, registry, RULES).look() == 0
    assert registry.asked == []

    await first_uses(pool, deliveries, registry).look()
    assert await states(deliveries) == {old.id: "expired", new.id: "due"}


async def test_another_history_tells_only_what_is_new(pool: Pool, deliveries: Deliveries) -> None:
    """A backup of the registry is back, and gives out numbers that were given out before."""
    known, lost = used(1), used(2)
    registry = Registry(known, lost)
    looker = first_uses(pool, deliveries, registry)
    await looker.look()
    new = used(2)
    registry.items, registry.epoch = [known, new], OTHER_EPOCH

    assert await looker.look() == 2
    assert set(await states(deliveries)) == {known.id, lost.id, new.id}
    assert await looker.look() == 0
    assert registry.asked[-1] == 2


async def test_a_registry_that_is_away_is_asked_again(
    pool: Pool, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also an older one, which knows no such list."""
    monkeypatch.setattr("services.notifier.first_uses.LOOK_SECONDS", 0.01)
    registry = Registry(used(1))
    registry.reachable = False
    async with background(first_uses(pool, deliveries, registry).watch()):
        await eventually(lambda: len(registry.asked) > 1)
        registry.reachable = True
        await eventually(lambda: states(deliveries))


async def test_an_erased_owner_s_addresses_are_in_no_delivery(
    pool: Pool, deliveries: Deliveries
) -> None:
    """Nor in what others were told of the application."""
    to_both = [replace(one, recipients=("owner", "security@example.com")) for one in ON]
    mine, other = used(1), msgspec.structs.replace(used(2), owner_id=str(uuid.uuid4()))
    await first_uses(pool, deliveries, Registry(mine, other), to_both).look()
    await deliveries.forget(OWNER)

    contexts = {
        (row["event_id"], row["recipient"]): row["context"].get("address")
        for row in await deliveries.page(Filter(), 10)
    }
    assert contexts == {
        (mine.id, OWNER): None,
        (mine.id, "mailto:security@example.com"): "",
        (other.id, other.owner_id): "203.0.113.7",
        (other.id, "mailto:security@example.com"): "203.0.113.7",
    }
