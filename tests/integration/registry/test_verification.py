"""`events verify` and `events republish`: what an operator asks after a bad night."""

import asyncio
import json

import aio_pika
import pytest

from services.registry.event_store import EventStore
from services.registry.verification import verify
from shared.bus import PUBLIC_EXCHANGE, open_publisher
from tests.integration.registry.house import House
from tests.integration.registry.lives import Lives
from tests.integration.registry.test_cli import printed, refusal, run
from tests.support.eventually import eventually


async def live(house: House, store: EventStore) -> None:
    """Append some lives."""
    lives = Lives(house, seed=7)
    for _ in range(40):
        await store.append(lives.next())


async def test_a_sound_log_is_called_sound(house: House, store: EventStore) -> None:
    """Every type of event, applications that are and that were, digests included."""
    await live(house, store)
    heard: list[tuple[int, int]] = []

    found = await verify(house.pool, on_progress=lambda *told: heard.append(told))

    head = await house.head()
    assert found.problems == ()
    assert (found.events, found.position) == (head, head)
    assert found.applications == await house.pool.fetchval(
        "SELECT count(*) FROM registry.applications"
    )


async def test_an_empty_log_is_sound(house: House) -> None:
    """As it is on the first day."""
    assert (await verify(house.pool)).problems == ()


async def test_a_log_that_is_written_meanwhile_is_sound(house: House, store: EventStore) -> None:
    """Nobody has to stop the registry in order to ask."""
    writing = asyncio.create_task(live(house, store))
    while not writing.done():
        assert (await verify(house.pool)).problems == ()
    await writing


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DELETE FROM registry.events WHERE position = 5", ("position 5: missing",)),
        ("DELETE FROM registry.events WHERE position = {head}", ("the head stands at",)),
        ("UPDATE registry.events SET version = version + 50 WHERE position = 3", ("version 5",)),
        ("UPDATE registry.events SET type = 'Moved' WHERE position = 2", ("'Moved'", "upgrade")),
        ("UPDATE registry.events SET data = '{{}}' WHERE position = 2", ("position 2",)),
        ("UPDATE registry.applications SET active = NOT active", ("differs in active",)),
        ("UPDATE registry.applications SET name = name || '!'", ("differs in name",)),
        ("UPDATE registry.application_secrets SET digest = 'x'", ("differs in secrets",)),
        ("DELETE FROM registry.application_secrets", ("differs in secrets",)),
        ("DELETE FROM registry.applications", ("not in the read model",)),
        ("UPDATE registry.applications SET id = gen_random_uuid()", ("not in the log",)),
        ("UPDATE registry.relay_cursor SET position = 10000", ("beyond the head",)),
    ],
)
async def test_each_kind_of_damage_is_named(
    house: House, store: EventStore, damage: str, words: tuple[str, ...]
) -> None:
    """And nothing of what the rows hold that is nobody's business."""
    await live(house, store)
    await house.pool.execute(damage.format(head=await house.head()))

    said = "; ".join((await verify(house.pool)).problems)

    for word in words:
        assert word in said
    for (name,) in await house.pool.fetch("SELECT name FROM registry.applications"):
        assert name not in said


async def test_blanked_digests_are_no_damage(house: House, store: EventStore) -> None:
    """The private part can be removed from the log; the read model still has it."""
    await live(house, store)
    await house.pool.execute("UPDATE registry.events SET private = NULL")

    assert (await verify(house.pool)).problems == ()


async def test_the_command_line_says_it_with_its_status(house: House, store: EventStore) -> None:
    """For the script that runs after each restore."""
    await live(house, store)
    sound = await printed(house, "events", "verify")
    await house.pool.execute("UPDATE registry.applications SET active = NOT active")
    damaged = await run(house, "events", "verify", "--json")

    assert (sound["sound"], sound["problems"]) == (True, [])
    assert damaged.returncode == 1
    assert not json.loads(damaged.stdout)["sound"]
    assert "differs in active" in damaged.stderr


async def test_a_part_of_the_log_is_published_again(
    house: House, store: EventStore, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To whoever listens now, in order, and no further than was asked."""
    monkeypatch.setenv("OAUTHAPPS_BUS__URL", amqp_url)
    await live(house, store)
    async with open_publisher(amqp_url, source="x", timeout_seconds=10):
        pass
    heard: list[int] = []

    async def hear(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        heard.append(json.loads(message.body)["sequence"])

    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(PUBLIC_EXCHANGE, "#")
        await queue.consume(hear, no_ack=True)
        done = await printed(house, "events", "republish", "--from", "3", "--to", "30")
        await eventually(lambda: len(heard) == 28)

    assert done["published"] == 28
    assert heard == list(range(3, 31))


async def test_a_restored_log_gets_another_epoch(house: House, store: EventStore) -> None:
    """Asked for in so many words: every subscriber starts over."""
    await live(house, store)
    before = await store.head()

    unsure = await run(house, "events", "new-epoch", given="n\n")
    assert unsure.returncode == 1
    assert await store.head() == before
    made = await printed(house, "events", "new-epoch", "--yes")

    after = await store.head()
    assert (made["log_epoch"], made["position"]) == (after.log_epoch, after.position)
    assert (after.log_epoch != before.log_epoch, after.position) == (True, before.position)
    assert (await verify(house.pool)).problems == ()


async def test_what_cannot_be_published_again_is_one_line(house: House) -> None:
    """No broker, or a range the wrong way round."""
    assert "OAUTHAPPS_BUS__URL" in await refusal(
        house, "events", "republish", "--from", "1", "--to", "2"
    )
    assert (await run(house, "events", "republish", "--from", "2", "--to", "1")).returncode == 2
