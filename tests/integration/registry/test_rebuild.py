"""`events rebuild`: the read model made anew from the log, while everybody goes on."""

import asyncio

import asyncpg
import pytest

from services.registry import rebuild as module
from services.registry.event_store import EventStore
from services.registry.filters import Filter, Order
from services.registry.rebuild import LogDamaged, rebuild
from tests.integration.registry.house import House
from tests.integration.registry.test_cli import printed, refusal
from tests.integration.registry.test_verification import live
from tests.support.eventually import eventually


async def content(house: House) -> list[asyncpg.Record]:
    """Return the whole read model, all that anybody is answered from."""
    applications = await house.pool.fetch("SELECT * FROM registry.applications ORDER BY id")
    return applications + await house.pool.fetch(
        "SELECT * FROM registry.application_secrets ORDER BY application_id, position, id"
    )


DAMAGES = {
    "a wrong column": "UPDATE registry.applications SET active = NOT active, version = 77",
    "no secrets": "DELETE FROM registry.application_secrets",
    "wrong digests": "UPDATE registry.application_secrets SET digest = 'x'",
    "secrets of nobody": """
        INSERT INTO registry.application_secrets (id, application_id, hint, digest, created_at,
                                                  position)
        SELECT gen_random_uuid(), gen_random_uuid(), 'abcd', '', now(), 1""",
    "applications of nobody": """
        INSERT INTO registry.applications (id, client_id, organization_id, owner_id, name, active,
                                           scopes, created_at, updated_at, version)
        SELECT gen_random_uuid(), 'ghost', organization_id, owner_id, 'Ghost', true, '{}', now(),
               now(), 1
          FROM registry.applications LIMIT 1""",
    "nothing there": "TRUNCATE registry.applications, registry.application_secrets",
    "exchanged names": """
        UPDATE registry.applications a SET name = b.name || ' ' || b.id, client_id = 'c' || b.id
          FROM registry.applications b WHERE b.id > a.id;
        UPDATE registry.applications a SET name = (
            SELECT e.data ->> 'name' FROM registry.events e
             WHERE e.stream <> a.id AND e.type = 'ApplicationCreated' ORDER BY e.stream LIMIT 1)
         WHERE id = (SELECT max(id::text)::uuid FROM registry.applications)""",
    "wrong search keys": """
        UPDATE registry.applications
           SET name_key = 'x', name_parts = '', organization_key = 'nowhere'""",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_whatever_was_wrong_is_right_afterwards(
    house: House, store: EventStore, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is the truth; the rest can be made from it."""
    monkeypatch.setattr(module, "BATCH", 3)
    await live(house, store)
    before = await content(house)
    await house.pool.execute(damage)
    assert await content(house) != before

    done = await rebuild(house.pool)

    assert done.verification.problems == ()
    assert await content(house) == before
    again = await rebuild(house.pool)
    assert (again.written, again.removed) == (0, 0)


async def test_what_the_log_does_not_know_is_kept(house: House, store: EventStore) -> None:
    """When an application was last used, and digests that were blanked in the log."""
    await live(house, store)
    await house.pool.execute("UPDATE registry.applications SET last_used_at = now()")
    await house.pool.execute("UPDATE registry.events SET private = NULL")
    before = await content(house)
    await house.pool.execute("UPDATE registry.applications SET version = 77")

    done = await rebuild(house.pool)

    assert done.written == done.verification.applications
    assert await content(house) == before


async def test_everybody_goes_on_meanwhile(
    house: House, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appends get their turn between two batches, and readers never miss an application."""
    monkeypatch.setattr(module, "BATCH", 1)
    await live(house, store)
    for _ in range(50):
        await store.append(house.application().creation())
    steady = house.application("Steady")
    await store.append(steady.creation())
    await house.pool.execute("UPDATE registry.applications SET version = version + 50")
    wrong = await house.pool.fetchval("SELECT count(*) FROM registry.applications")
    missed: list[int] = []

    async def go_on() -> None:
        while True:
            await store.append(house.application().creation())
            items, _ = await house.lists.page(
                Filter(name="steady"), Order("name"), limit=5, cursor=None
            )
            missed.append(1 - len(items))

    async with asyncio.TaskGroup() as group:
        going_on = group.create_task(go_on())
        await eventually(lambda: missed)
        before = len(missed)
        done = await rebuild(house.pool)
        meanwhile = len(missed) - before
        going_on.cancel()

    assert done.verification.problems == ()
    assert done.written >= wrong > 50
    assert meanwhile > 1
    assert not any(missed)


async def test_one_that_was_broken_off_can_be_done_again(
    house: House, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was put right stays right; nothing is worse than before."""
    monkeypatch.setattr(module, "BATCH", 2)
    await live(house, store)
    before = await content(house)
    await house.pool.execute("UPDATE registry.applications SET active = NOT active")

    def break_off(done: int, _whole: int) -> None:
        if done:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "ROWS", 20)
    with pytest.raises(KeyboardInterrupt):
        await rebuild(house.pool, on_progress=break_off)
    halfway = await content(house)
    wrong = sum(one != other for one, other in zip(halfway, before, strict=True))
    assert 0 < wrong < len(before)

    await rebuild(house.pool)
    assert await content(house) == before


async def test_a_log_with_a_hole_is_not_believed(house: House, store: EventStore) -> None:
    """What is missing in it would be lost in the read model too."""
    await live(house, store)
    await house.pool.execute("DELETE FROM registry.events WHERE position = 5")
    before = await content(house)

    with pytest.raises(LogDamaged, match="position 5: missing"):
        await rebuild(house.pool)
    assert await content(house) == before
    assert "position 5: missing" in await refusal(house, "events", "rebuild")


async def test_it_is_a_command(house: House, store: EventStore) -> None:
    """With figures for the operator, and for a script."""
    await live(house, store)
    count = await house.pool.fetchval("SELECT count(*) FROM registry.applications")
    await house.pool.execute("UPDATE registry.applications SET active = NOT active")

    done = await printed(house, "events", "rebuild")

    assert (done["written"], done["removed"], done["sound"]) == (count, 0, True)
    assert done["applications"] == count
