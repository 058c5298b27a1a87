"""Disabled users and organizations: what they own is deactivated, at once or after a crash."""

import asyncio
import uuid

import pytest
from structlog.testing import capture_logs

from services.registry import withdrawal
from services.registry.event_store import EventStore
from services.registry.handlers import Context
from services.registry.withdrawal import watch, withdraw
from shared.tasks import end
from tests.integration.registry.house import House, now
from tests.integration.registry.test_cli import printed
from tests.support.eventually import eventually


def context() -> Context:
    """Return the context of an operator's command."""
    return Context(command_id=str(uuid.uuid4()), actor="cli:test", now=now)


async def reasons(house: House) -> list[str]:
    """Return why applications were deactivated, in the order of the log."""
    rows = await house.pool.fetch(
        "SELECT data ->> 'reason' AS reason FROM registry.events"
        " WHERE type = 'ApplicationDeactivated' ORDER BY position"
    )
    return [row["reason"] for row in rows]


async def own(store: EventStore, house: House, count: int) -> None:
    """Give the owner so many applications."""
    await asyncio.gather(*(store.append(house.application().creation()) for _ in range(count)))


async def active(house: House) -> int:
    number: int = await house.pool.fetchval(
        "SELECT count(*) FROM registry.applications WHERE active"
    )
    return number


async def test_what_a_disabled_user_owns_is_deactivated_in_one_transaction(
    house: House, store: EventStore
) -> None:
    """No moment in which one half works and the other does not."""
    await own(store, house, 5)
    await house.directory.set_user_active(house.owner.id, active=False)

    assert await withdraw(store, house.views, context()) == 5

    assert await reasons(house) == ["owner_disabled"] * 5
    transactions = await house.pool.fetch(
        "SELECT DISTINCT xmin::text FROM registry.events WHERE type = 'ApplicationDeactivated'"
    )
    assert len(transactions) == 1
    assert await withdraw(store, house.views, context()) == 0


async def test_an_organization_is_a_reason_of_its_own_and_its_owner_comes_first(
    house: House, store: EventStore
) -> None:
    """The history tells whom to ask."""
    await own(store, house, 1)
    await house.directory.set_organization_active(house.organization.id, active=False)
    await withdraw(store, house.views, context())
    assert await reasons(house) == ["organization_disabled"]

    await house.directory.set_organization_active(house.organization.id, active=True)
    await own(store, house, 1)
    await house.directory.set_organization_active(house.organization.id, active=False)
    await house.directory.set_user_active(house.owner.id, active=False)
    await withdraw(store, house.views, context())
    assert await reasons(house) == ["organization_disabled", "owner_disabled"]


async def test_what_is_added_meanwhile_is_found_or_refused(house: House, store: EventStore) -> None:
    """Whoever was faster, nothing of a disabled owner stays active."""
    adding = asyncio.gather(
        *(store.append(house.application().creation()) for _ in range(50)), return_exceptions=True
    )
    await house.directory.set_user_active(house.owner.id, active=False)
    await withdraw(store, house.views, context())
    await adding

    assert await active(house) == 0


async def test_the_watch_finishes_what_a_crash_left(
    house: House, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory says disabled, and whoever said it died before the log heard."""
    monkeypatch.setattr(withdrawal, "WATCH_SECONDS", 0.05)
    await own(store, house, 2)
    watching = asyncio.create_task(watch(store, house.views))
    try:
        await house.directory.set_user_active(house.owner.id, active=False)

        async def none_is_active() -> bool:
            return await active(house) == 0

        await eventually(none_is_active)
    finally:
        await end(watching)
    assert await reasons(house) == ["owner_disabled"] * 2


async def test_the_watch_outlives_a_database_that_is_not_ready(
    house: House, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that was started before `migrate` must not be without it afterwards."""
    monkeypatch.setattr(withdrawal, "WATCH_SECONDS", 0.05)
    await own(store, house, 1)
    await house.directory.set_user_active(house.owner.id, active=False)
    await house.pool.execute("ALTER TABLE registry.applications RENAME TO elsewhere")
    with capture_logs() as logged:
        watching = asyncio.create_task(watch(store, house.views))
        try:
            await eventually(lambda: any("interrupted" in one["event"] for one in logged))
            await house.pool.execute("ALTER TABLE registry.elsewhere RENAME TO applications")

            async def none_is_active() -> bool:
                return await active(house) == 0

            await eventually(none_is_active)
        finally:
            await end(watching)


async def test_an_organization_is_disabled_and_enabled_on_the_command_line(
    house: House, store: EventStore
) -> None:
    """Enabling brings nothing back by itself."""
    await own(store, house, 2)

    disabled = await printed(house, "organizations", "disable", "Example")
    enabled = await printed(house, "organizations", "enable", "Example")

    assert (disabled["active"], enabled["active"]) == (False, True)
    assert await active(house) == 0
    assert await reasons(house) == ["organization_disabled"] * 2
