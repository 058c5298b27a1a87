"""The log in Postgres: places without holes, a result for every command, and the truth about it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import asyncpg
import pytest

from services.registry import event_store, projection
from services.registry.event_store import EventStore, OutcomeUnknown, StoreUnavailable
from services.registry.ports import WrongExpectedVersion
from services.registry.projection import NameTaken, OwnerUnavailable
from shared.envelope import Envelope
from shared.postgres import Connection
from tests.integration.registry.house import (
    House,
    append,
    proxied,
    session,
    without_private,
)
from tests.support.eventually import eventually
from tests.unit.registry.factories import activated, deactivated, deleted, updated

GATE = 4711
# Runs at the end of every commit that appends, inside of it.
SLOW_COMMIT = f"""
CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock({GATE}); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT ON registry.events
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_commit();
"""


class TestPlaces:
    async def test_positions_count_all_events_and_versions_those_of_a_stream(
        self, house: House, store: EventStore
    ) -> None:
        """Both from 1, without a hole."""
        one, other = house.application(), house.application()

        stored = [
            *await store.append(one.creation()),
            *await store.append(other.creation()),
            *await store.append(
                append(one.id, 1, deactivated(one.name, **one.subject), deleted("x", **one.subject))
            ),
        ]

        assert [each.position for each in stored] == [1, 2, 3, 4]
        assert [each.version for each in stored] == [1, 1, 2, 3]
        assert len({each.id for each in stored}) == 4

    async def test_what_is_loaded_is_what_was_appended(
        self, house: House, store: EventStore
    ) -> None:
        """All of it, but for what is private."""
        told = house.application("Über 'CI' \\ \u2603 🚀")

        stored = await store.append(told.creation(scopes=("a", "b")))

        assert without_private(stored) == await store.load(told.id)
        assert str(stored[0].private.secret_digest) not in repr(await store.load(told.id))

    async def test_a_refused_command_takes_no_position(
        self, house: House, store: EventStore
    ) -> None:
        """The next one gets the number that the refused one would have had."""
        told = house.application()
        await store.append(told.creation())
        with pytest.raises(NameTaken):
            await store.append(house.application(told.name).creation())

        (stored,) = await store.append(house.application().creation())

        assert stored.position == 2
        assert await house.head() == 2

    async def test_an_unknown_stream_is_empty(self, store: EventStore) -> None:
        """It is not an error: creation begins like that."""
        assert await store.load(str(uuid.uuid4())) == []


class TestExpectedVersion:
    @pytest.mark.parametrize("expected", [0, 2, 7])
    async def test_another_version_than_the_present_one_is_refused(
        self, house: House, store: EventStore, expected: int
    ) -> None:
        """Whoever decided on another state must decide again."""
        told = house.application()
        await store.append(told.creation())

        with pytest.raises(WrongExpectedVersion):
            await store.append(append(told.id, expected, deactivated(told.name, **told.subject)))
        assert await house.positions() == [1]

    async def test_of_two_that_expect_the_same_one_wins(self, house: House) -> None:
        """In one process or in two."""
        told = house.application()
        async with house.store() as here, house.store() as there:
            await here.append(told.creation())
            commands = [
                append(told.id, 1, updated(f"new {index}", **told.subject)) for index in range(4)
            ]
            outcomes = await asyncio.gather(
                *(
                    store.append(command)
                    for store, command in zip((here, there, here, there), commands, strict=True)
                ),
                return_exceptions=True,
            )

        assert sum(isinstance(one, list) for one in outcomes) == 1
        assert sum(isinstance(one, WrongExpectedVersion) for one in outcomes) == 3
        assert await house.positions() == [1, 2]


class TestBatches:
    async def test_commands_that_wait_together_are_stored_in_one_transaction(
        self, house: House, store: EventStore
    ) -> None:
        """That is where the throughput comes from."""
        await asyncio.gather(*(store.append(house.application().creation()) for _ in range(20)))

        transactions = await house.pool.fetchval(
            "SELECT count(DISTINCT xmin::text) FROM registry.events"
        )
        assert transactions <= 2
        assert await house.positions() == list(range(1, 21))

    async def test_every_command_of_a_batch_has_its_own_result(
        self, house: House, store: EventStore
    ) -> None:
        """Somebody else's mistake is not mine."""
        existing, fine, also_fine = (house.application() for _ in range(3))
        await store.append(existing.creation())
        stranger = house.application(owner_id=str(uuid.uuid4()))

        outcomes = await asyncio.gather(
            store.append(fine.creation()),
            store.append(append(existing.id, 7, deactivated(existing.name, **existing.subject))),
            store.append(house.application(existing.name).creation()),
            store.append(stranger.creation()),
            store.append(also_fine.creation()),
            return_exceptions=True,
        )

        kinds = [type(one) for one in outcomes]
        assert kinds == [list, WrongExpectedVersion, NameTaken, OwnerUnavailable, list]
        assert await house.positions() == [1, 2, 3]

    async def test_a_name_is_given_once_within_a_batch(
        self, house: House, store: EventStore
    ) -> None:
        """The read model does not have the first one yet when the second one is looked at."""
        outcomes = await asyncio.gather(
            *(store.append(house.application("CI").creation()) for _ in range(5)),
            return_exceptions=True,
        )

        assert [list] + [NameTaken] * 4 == [type(one) for one in outcomes]
        assert await house.positions() == [1]

    async def test_a_rename_and_a_creation_do_not_share_a_name_within_a_batch(
        self, house: House, store: EventStore
    ) -> None:
        """There are two ways to a name."""
        told = house.application("Old")
        await store.append(told.creation())

        outcomes = await asyncio.gather(
            store.append(append(told.id, 1, updated("CI", **told.subject))),
            store.append(house.application("CI").creation()),
            return_exceptions=True,
        )

        assert [type(one) for one in outcomes] == [list, NameTaken]

    async def test_a_command_that_breaks_the_transaction_takes_no_other_along(
        self, house: House, store: EventStore
    ) -> None:
        """What no check foresaw is tried command by command."""
        twin, fine = house.application(), house.application()
        first = await store.append(twin.creation())
        same_client = house.application(client_id=first[0].event.client_id)

        outcomes = await asyncio.gather(
            store.append(same_client.creation()),
            store.append(fine.creation()),
            return_exceptions=True,
        )

        assert isinstance(outcomes[0], asyncpg.UniqueViolationError)
        assert isinstance(outcomes[1], list)
        assert await house.positions() == [1, 2]

    async def test_whoever_gives_up_waiting_stops_nobody(
        self, house: House, store: EventStore
    ) -> None:
        """A browser that was closed does not cancel the batch."""
        told = house.application()
        async with session(house.dsn) as blocker:
            transaction = blocker.transaction()
            await transaction.start()
            await blocker.execute("SELECT FROM registry.log_head FOR UPDATE")
            impatient = asyncio.create_task(store.append(told.creation()))
            patient = asyncio.create_task(store.append(house.application().creation()))
            await eventually(house.wait_for_lock)
            impatient.cancel()
            await transaction.rollback()
            await patient

        assert await house.positions() == [1, 2]
        assert len(await store.load(told.id)) == 1


class TestCommandId:
    async def test_a_repeated_command_returns_what_it_did(
        self, house: House, store: EventStore
    ) -> None:
        """The caller may not have heard the first answer."""
        command = house.application().creation()

        first = await store.append(command)
        again = await store.append(command)

        assert without_private(first) == again
        assert await house.positions() == [1]

    async def test_a_command_that_is_repeated_within_a_batch_returns_what_it_does(
        self, house: House, store: EventStore
    ) -> None:
        """A client that retries at once meets its own first try."""
        command = house.application().creation()

        first, again = await asyncio.gather(store.append(command), store.append(command))

        assert without_private(first) == without_private(again)
        assert await house.positions() == [1]

    async def test_a_command_repeated_to_another_process_returns_what_it_did(
        self, house: House
    ) -> None:
        """The load balancer sends it elsewhere."""
        command = house.application().creation()
        async with house.store() as here, house.store() as there:
            first, again = await asyncio.gather(here.append(command), there.append(command))

        assert without_private(first) == without_private(again)
        assert await house.positions() == [1]


class TestOwner:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE registry.users SET active = false",
            "UPDATE registry.organizations SET active = false",
            "DELETE FROM registry.memberships",
            "DELETE FROM registry.users",
        ],
    )
    async def test_nothing_begins_for_an_owner_who_is_not_there(
        self, house: House, store: EventStore, statement: str
    ) -> None:
        """Checked under the log's lock, whatever the edge saw a moment before."""
        told = house.application()
        await store.append(told.creation(active=False))
        await house.pool.execute(statement)

        outcomes = await asyncio.gather(
            store.append(house.application().creation()),
            store.append(append(told.id, 1, activated(told.name, **told.subject))),
            return_exceptions=True,
        )

        assert [OwnerUnavailable, OwnerUnavailable] == [type(one) for one in outcomes]

    async def test_what_ends_something_needs_no_owner(
        self, house: House, store: EventStore
    ) -> None:
        """The applications of somebody who left must be stopped, not kept running."""
        told = house.application()
        await store.append(told.creation())
        await house.pool.execute("DELETE FROM registry.users")

        await store.append(append(told.id, 1, deactivated(told.name, **told.subject)))
        await store.append(append(told.id, 2, deleted(told.name, **told.subject)))

        assert await house.positions() == [1, 2, 3]


class TestLostConnections:
    async def test_a_connection_that_died_idle_costs_at_most_one_answer(
        self, house: House, store: EventStore
    ) -> None:
        """And that answer is true: nothing was stored."""
        await store.append(house.application().creation())
        await house.pool.execute(
            # The writer's, whose last word was that; the pool's are of no concern here.
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query = 'COMMIT'"
        )

        with suppress(StoreUnavailable):
            await store.append(house.application().creation())
        before = await house.positions()
        await store.append(house.application().creation())

        assert [*before, len(before) + 1] == await house.positions()

    async def test_lost_before_the_commit_nothing_was_stored(
        self, house: House, store: EventStore
    ) -> None:
        """The caller may try again as if it had never asked."""
        async with session(house.dsn) as blocker:
            await blocker.execute("BEGIN; SELECT FROM registry.log_head FOR UPDATE")
            waiting = asyncio.gather(
                *(store.append(house.application().creation()) for _ in range(3)),
                return_exceptions=True,
            )
            await eventually(house.wait_for_lock)
            await house.end_whoever_waits()
            outcomes = await waiting

        assert {StoreUnavailable} == {type(one) for one in outcomes}
        assert await house.positions() == []
        assert len(await store.append(house.application().creation())) == 1

    async def test_killed_at_commit_before_it_is_done_nothing_was_stored(
        self, house: House, store: EventStore
    ) -> None:
        """The log is asked, and says no."""
        command = house.application().creation()
        async with commits_held(house):
            waiting = asyncio.create_task(store.append(command))
            await eventually(house.wait_for_lock)
            await house.end_whoever_waits()
            with pytest.raises(StoreUnavailable):
                await waiting

        assert await house.positions() == []
        assert len(await store.append(command)) == 1

    async def test_lost_at_commit_that_goes_through_it_was_stored(self, house: House) -> None:
        """The log is asked, and says yes: the caller hears of success, and of nothing else."""
        commands = [house.application().creation() for _ in range(3)]
        async with (
            proxied(house) as (proxy, dsn),
            house.store(dsn=dsn) as store,
        ):
            async with commits_held(house):
                waiting = asyncio.gather(*(store.append(one) for one in commands))
                await eventually(house.wait_for_lock)
                proxy.drop_connections()
                # It looks the outcome up, and waits for the transaction that still runs.
                await eventually(lambda: proxy.connections == 2)
            outcomes = await waiting

        assert [one[0].position for one in outcomes] == [1, 2, 3]
        assert await house.positions() == [1, 2, 3]

    async def test_an_outcome_that_cannot_be_looked_up_is_not_known(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither yes nor no; the same command id finds out later, without doing it twice."""
        monkeypatch.setattr(event_store, "RESOLVE_SECONDS", 0.3)
        command = house.application().creation()
        async with (
            proxied(house) as (proxy, dsn),
            house.store(dsn=dsn) as store,
        ):
            async with commits_held(house):
                waiting = asyncio.create_task(store.append(command))
                await eventually(house.wait_for_lock)
                await proxy.cut()
                with pytest.raises(OutcomeUnknown):
                    await waiting
            await eventually(house.positions)
            await proxy.release()
            again = await store.append(command)

        assert [one.position for one in again] == [1]
        assert await house.positions() == [1]

    async def test_a_look_up_that_took_too_long_leaves_nothing_behind(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It was waiting in a transaction; the next command must not find itself in that one."""
        monkeypatch.setattr(event_store, "RESOLVE_SECONDS", 0.3)
        async with proxied(house) as (proxy, dsn), house.store(dsn=dsn) as store:
            async with commits_held(house):
                waiting = asyncio.create_task(store.append(house.application().creation()))
                await eventually(house.wait_for_lock)
                proxy.drop_connections()
                with pytest.raises(OutcomeUnknown):
                    await waiting

                async def is_over() -> bool:
                    """A connection that was kept is interrupted before its lock is free."""
                    return store._connection is None or await house.nobody_begins()

                await eventually(is_over)
            await eventually(house.positions)

            (stored,) = await store.append(house.application().creation())

        assert stored.position == 2

    async def test_a_writer_that_is_stopped_in_a_transaction_does_not_stop_the_others(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its session, and with it the log's lock, would stay as long as it is stopped."""
        stopped, goes_on = asyncio.Event(), asyncio.Event()
        apply = projection.apply

        async def stop_once(connection: Connection, envelopes: Sequence[Envelope]) -> None:
            if not stopped.is_set():
                stopped.set()
                await goes_on.wait()
            await apply(connection, envelopes)

        monkeypatch.setattr(projection, "apply", stop_once)
        async with house.store() as store, house.store() as other:
            waiting = asyncio.create_task(store.append(house.application().creation()))
            await stopped.wait()
            async with asyncio.timeout(10):
                (stored,) = await other.append(house.application().creation())
            goes_on.set()
            with pytest.raises(StoreUnavailable):
                await waiting

        assert stored.position == 1
        assert await house.positions() == [1]

    async def test_a_server_that_refuses_to_say_does_not_end_the_writer(
        self, house: House, store: EventStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a failover it may be up and not for us; later commands must still get answers."""
        monkeypatch.setattr(event_store, "RESOLVE_SECONDS", 0.3)
        name = urlsplit(house.dsn).path[1:]
        async with session(_other_database(house.dsn)) as operator:
            async with commits_held(house):
                waiting = asyncio.create_task(store.append(house.application().creation()))
                await eventually(house.wait_for_lock)
                await operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                await house.end_whoever_waits()
                with pytest.raises(OutcomeUnknown):
                    await waiting
            await operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

        async with asyncio.timeout(5):
            assert len(await store.append(house.application().creation())) == 1

    async def test_a_server_that_is_away_is_said_so_and_comes_back(self, house: House) -> None:
        """Nothing hangs, nothing is lost that was said to be stored."""
        async with proxied(house) as (proxy, dsn), house.store(dsn=dsn) as store:
            await store.append(house.application().creation())
            await proxy.cut()
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await store.append(house.application().creation())
            await proxy.release()
            await store.append(house.application().creation())

        assert await house.positions() == [1, 2]


class TestTheEnd:
    async def test_who_still_waits_when_the_registry_stops_is_told(self, house: House) -> None:
        """No request hangs; and what was not begun is known not to be stored."""
        async with session(house.dsn) as blocker:
            await blocker.execute("BEGIN; SELECT FROM registry.log_head FOR UPDATE")
            async with house.store() as store:
                begun = asyncio.create_task(store.append(house.application().creation()))
                await eventually(house.wait_for_lock)
                queued = asyncio.create_task(store.append(house.application().creation()))
                await asyncio.sleep(0)
            with pytest.raises(OutcomeUnknown):
                await begun
            with pytest.raises(StoreUnavailable):
                await queued
        # Now the lock is free, and whoever waited for it finds that nobody listens.
        await eventually(lambda: _nobody_waits(house))

        assert await house.positions() == []

    async def test_a_stopped_store_takes_nothing(self, house: House) -> None:
        """A request that comes too late must not wait for a writer that is gone."""
        async with house.store() as store:
            pass

        async with asyncio.timeout(5):
            with pytest.raises(StoreUnavailable):
                await store.append(house.application().creation())


async def _nobody_waits(house: House) -> bool:
    return not await house.wait_for_lock()


async def test_positions_appear_without_holes_to_whoever_reads_while_64_write(
    house: House,
) -> None:
    """The one promise that everything else is built on."""
    each = 40
    async with house.store() as here, house.store() as there, session(house.dsn) as reader:

        async def write(store: EventStore) -> list[Envelope]:
            told = house.application()
            stored = await store.append(told.creation())
            for version in range(1, each):
                event = updated(f"{told.name} {version}", **told.subject)
                stored += await store.append(append(told.id, version, event))
            return stored

        writers = asyncio.gather(*(write((here, there)[index % 2]) for index in range(64)))
        looks = 0
        seen = 0
        while not writers.done():
            rows = await reader.fetch("SELECT position FROM registry.events ORDER BY position")
            positions = [row["position"] for row in rows]
            assert positions == list(range(1, len(positions) + 1))
            assert len(positions) >= seen
            seen = len(positions)
            looks += 1
        written = [one for stored in await writers for one in stored]

    assert looks > 10
    assert list(range(1, 64 * each + 1)) == sorted(one.position for one in written)
    assert await house.head() == 64 * each
    for stored in {one.stream for one in written}:
        versions = [one.version for one in written if one.stream == stored]
        assert versions == list(range(1, each + 1))


async def test_an_append_is_announced_to_other_processes(house: House, store: EventStore) -> None:
    """At commit and not before: whoever wakes up sees it."""
    heard: asyncio.Queue[int] = asyncio.Queue()
    async with session(house.dsn) as listener:
        await listener.add_listener(
            event_store.CHANNEL,
            lambda *args: heard.put_nowait(int(args[3])),
        )
        await store.append(house.application().creation())
        async with asyncio.timeout(5):
            assert await heard.get() == 1


async def test_a_barrier_lets_earlier_appends_end(house: House, store: EventStore) -> None:
    """Who disables an owner must see the applications that were under way."""
    async with commits_held(house):
        waiting = asyncio.create_task(store.append(house.application().creation()))
        await eventually(house.wait_for_lock)
        barrier = asyncio.create_task(store.barrier())
        await asyncio.wait({barrier}, timeout=0.1)
        assert not barrier.done()
    await barrier

    assert await house.positions() == [1]
    await waiting


@asynccontextmanager
async def commits_held(house: House) -> AsyncIterator[None]:
    """Let every append stop in the middle of its commit, until the end of the block."""
    async with session(house.dsn) as gatekeeper:
        await gatekeeper.execute(SLOW_COMMIT)
        await gatekeeper.execute(f"SELECT pg_advisory_lock({GATE})")
        yield
    # The session's end opens the gate; the trigger stays and waits for nobody.


def _other_database(dsn: str) -> str:
    return urlsplit(dsn)._replace(path="/postgres").geturl()
