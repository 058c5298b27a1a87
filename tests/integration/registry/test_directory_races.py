"""What happens at the same time in the directory and in the log."""

import asyncio

import asyncpg
import pytest

from services.registry.directory import OwnsApplications
from services.registry.directory_changes import DirectoryChanges
from services.registry.event_store import EventStore
from services.registry.projection import OwnerUnavailable
from tests.integration.registry.directory import operator
from tests.integration.registry.house import House, session
from tests.support.eventually import eventually


async def test_nobody_gets_an_application_where_they_have_just_left(
    house: House, store: EventStore
) -> None:
    """Whoever was faster: a member with applications stays, or one without leaves."""
    elsewhere = await house.directory.add_organization("Elsewhere")
    changes = DirectoryChanges(house.pool)
    await changes.join(house.owner.id, elsewhere.id, operator())
    for _ in range(10):
        told = house.application(organization_id=elsewhere.id)

        appended, left = await asyncio.gather(
            store.append(told.creation()),
            changes.leave(house.owner.id, elsewhere.id, operator()),
            return_exceptions=True,
        )

        if isinstance(appended, OwnerUnavailable):
            await changes.join(house.owner.id, elsewhere.id, operator())
        else:
            assert isinstance(left, OwnsApplications)
            await house.pool.execute("DELETE FROM registry.applications")


async def test_who_leaves_waits_for_the_append_that_has_begun(
    house: House, store: EventStore
) -> None:
    """Its application is not committed yet, so nobody sees it, and it will be there."""
    elsewhere = await house.directory.add_organization("Elsewhere")
    changes = DirectoryChanges(house.pool)
    await changes.join(house.owner.id, elsewhere.id, operator())
    told = house.application(organization_id=elsewhere.id)
    async with session(house.dsn) as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT position FROM registry.log_head FOR UPDATE")
        leaving = asyncio.create_task(changes.leave(house.owner.id, elsewhere.id, operator()))
        await eventually(house.wait_for_lock)
        await other.execute(
            "INSERT INTO registry.applications (id, client_id, organization_id, owner_id, name,"
            " active, scopes, created_at, updated_at, version)"
            " VALUES ($1, 'C', $2, $3, 'CI', true, '{}', now(), now(), 1)",
            told.id,
            elsewhere.id,
            house.owner.id,
        )
        await transaction.commit()

        with pytest.raises(OwnsApplications):
            await leaving
    assert (await house.directory.user(house.owner.id)).belongs_to(elsewhere.id)


async def test_a_writer_that_fell_silent_does_not_keep_the_others_out(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped in the middle of a change holds the lock of all of them."""
    from services.registry import directory_writes

    monkeypatch.setattr(directory_writes, "_LOCK", directory_writes._LOCK.replace("'3s'", "'50ms'"))
    silent = directory_writes.writing(house.pool)
    connection = await silent.__aenter__()
    assert not connection.is_closed()

    added = await house.directory.add_organization("Elsewhere")

    assert added.name == "Elsewhere"
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await silent.__aexit__(None, None, None)


async def test_what_changes_nothing_takes_no_version(house: House) -> None:
    """Many at once, and one fact."""
    elsewhere = await house.directory.add_organization("Elsewhere")
    changes = DirectoryChanges(house.pool)

    joined = await asyncio.gather(
        *(changes.join(house.owner.id, elsewhere.id, operator()) for _ in range(8))
    )

    assert {one.version for one in joined} == {2}
    entries = await house.pool.fetchval(
        "SELECT count(*) FROM registry.directory_audit WHERE action = 'user.joined'"
    )
    assert entries == 1
