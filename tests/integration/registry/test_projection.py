"""The read model says what the log says, and so does the snapshot."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from services.registry.domain import Application, fold
from services.registry.event_store import EventStore
from services.registry.feed import Feed, Wakeup, snapshot
from services.token.domain import evolve
from shared.clients import ClientRecord, SnapshotHead, checksum
from shared.envelope import Envelope
from shared.feed_client import SNAPSHOT_END
from tests.integration.registry.house import House, append
from tests.integration.registry.lives import Lives
from tests.unit.registry.factories import rotated

# Later than any secret that is made here, so that none is dropped as expired.
LONG_AFTER = datetime(2100, 1, 1, tzinfo=UTC)


async def live(house: House, store: EventStore, seed: int, batches: int = 12) -> Lives:
    """Append many lives, several commands at a time."""
    lives = Lives(house, seed)
    for size in range(1, batches + 1):
        await asyncio.gather(*(store.append(lives.next()) for _ in range(size)))
    return lives


async def log_of(house: House) -> list[Envelope]:
    """Read the whole log."""
    page = await Feed(house.pool, Wakeup(), asyncio.Event()).page(0, 10_000, 0)
    assert len(page.envelopes) == page.head
    return page.envelopes


@pytest.mark.parametrize("seed", range(5))
async def test_the_read_model_is_the_fold_of_the_log(
    house: House, store: EventStore, seed: int
) -> None:
    """Whichever events came in one batch, and in which order."""
    lives = await live(house, store, seed)
    log = await log_of(house)
    assert len({one.type for one in log}) == 8
    assert lives.ended() > 0

    found = 0
    for stream in {one.stream for one in log}:
        history = [one for one in log if one.stream == stream]
        state = fold((one.event, one.time) for one in history)
        view = await house.views.find(stream)
        if not isinstance(state, Application):
            assert view is None
            continue
        found += 1
        assert view is not None
        assert view.version == history[-1].version
        assert (view.client_id, view.name, view.active, tuple(view.scopes)) == (
            state.client_id,
            state.name,
            state.active,
            state.scopes,
        )
        assert (view.organization.id, view.owner.id) == (state.organization_id, state.owner_id)
        assert (view.created_at, view.updated_at) == (state.created_at, state.updated_at)
        assert {one.id: asdict(one) for one in state.secrets.values()} == {
            one.id: _secret_facts(one) for one in view.secrets
        }
        stored = await house.pool.fetchval(
            "SELECT not_before FROM registry.applications WHERE id = $1", stream
        )
        assert stored == state.not_before
    assert found > 0
    assert found == await house.pool.fetchval("SELECT count(*) FROM registry.applications")
    orphans = await house.pool.fetchval(
        "SELECT count(*) FROM registry.application_secrets"
        " WHERE application_id NOT IN (SELECT id FROM registry.applications)"
    )
    assert orphans == 0


def _secret_facts(view: Any) -> dict[str, Any]:
    return {name: getattr(view, name) for name in ("id", "hint", "created_at", "expires_at")}


async def read_snapshot(house: House) -> tuple[SnapshotHead, list[ClientRecord]]:
    """Read a snapshot as a client of it does."""
    text = b"".join([part async for part in snapshot(house.pool)]).decode()
    head, *records, end, nothing = text.split("\n")
    assert (end, nothing) == (SNAPSHOT_END, "")
    return (
        msgspec.json.decode(head, type=SnapshotHead),
        [msgspec.json.decode(one, type=ClientRecord) for one in records],
    )


def clients_of(log: list[Envelope]) -> list[ClientRecord]:
    """Fold the log as the token service does."""
    clients: dict[str, ClientRecord | None] = {}
    for one in log:
        client_id = one.event.client_id
        clients[client_id] = evolve(clients.get(client_id), one.event, one.private)
    return [found for _, found in sorted(clients.items()) if found is not None]


@pytest.mark.parametrize("seed", range(5))
async def test_the_snapshot_has_the_checksum_of_the_token_services_fold(
    house: House, store: EventStore, seed: int
) -> None:
    """A projection from the snapshot and one from the log must be the same, byte for byte."""
    await live(house, store, seed)
    log = await log_of(house)

    head, records = await read_snapshot(house)

    assert head.position == log[-1].position
    assert records == clients_of(log)
    assert checksum(records) == checksum(clients_of(log))


async def test_secrets_stand_in_the_order_in_which_they_were_added(
    house: House, store: EventStore
) -> None:
    """Not by their time: a clock can be set back, and two can bear the same moment."""
    told = house.application()
    await store.append(told.creation())
    for version in range(1, 6):
        event = rotated(told.secret(), others_expire_at=LONG_AFTER, **told.subject)
        await store.append(append(told.id, version, event))

    _, records = await read_snapshot(house)

    assert checksum(records) == checksum(clients_of(await log_of(house)))


async def test_a_snapshot_of_nothing_has_a_head_and_an_end(house: House) -> None:
    """An empty one must not look like one that broke off."""
    head, records = await read_snapshot(house)

    assert (head.position, records) == (0, [])


async def test_a_snapshot_is_of_one_moment(house: House, store: EventStore) -> None:
    """What is appended while it is read is not in it: its head says so."""
    await asyncio.gather(*(store.append(house.application().creation()) for _ in range(5)))
    parts = snapshot(house.pool)
    first = await anext(parts)
    await store.append(house.application().creation())

    text = (first + b"".join([part async for part in parts])).decode()

    assert msgspec.json.decode(text.split("\n")[0], type=SnapshotHead).position == 5
    assert text.count('"client_id"') == 5
