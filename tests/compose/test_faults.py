"""Each container is killed in turn, while clients ask for tokens and applications change."""

import asyncio
from collections import Counter
from functools import partial

import pytest

from tests.compose.engine import Container, docker
from tests.compose.load import CLIENTS, Load
from tests.compose.stack import Stack
from tests.e2e.system import Credentials
from tests.support.eventually import eventually

# What clients may get instead of a token: only from what was killed, for what it had in hand.
IN_HAND = {"token": {"503"}, "caddy": {"ReadError", "RemoteProtocolError"}}
# Those may have handed a mail over, and died before that was written down.
MAY_REPEAT_MAIL = {"notifier", "postgres"}


async def change(stack: Stack, name: str) -> tuple[Credentials, Credentials]:
    """Create two applications, and deactivate the second."""
    stays, goes = await stack.create(f"{name} stays"), await stack.create(f"{name} goes")
    await stack.deactivate(goes)
    return stays, goes


async def ended(stack: Stack, container: Container) -> Container:
    """Wait until a container has ended; it may run again by then."""

    async def look() -> Container | None:
        (now,) = [one for one in await stack.containers() if one.id == container.id]
        return now if now.state == "exited" or now.started_at != container.started_at else None

    found: Container = await eventually(look, 30)
    return found


async def kill(stack: Stack, container: Container) -> None:
    """End a container as a crash does, and wait until all is healthy again.

    Engines take this for an operator's wish, and restart nothing; then we start it.
    """
    await docker("kill", container.id)
    if (await ended(stack, container)).state == "exited":
        await docker("start", container.id)
    await stack.is_well()


async def has_true_projection(stack: Stack, replica: Container) -> bool:
    said = await stack.run("projection", "verify", "--json", inside=replica)
    return bool(said["same"])


async def mails_by_subject(stack: Stack, name: str, *, once: bool) -> Counter[str]:
    """Count the mails about a round; those under one id as one, unless each has to come once."""
    mails = await stack.mails_about(name)
    if not once:
        mails = list({one["MessageID"]: one for one in mails}.values())
    return Counter(one["Subject"] for one in mails)


@pytest.mark.parametrize(
    "service", ["token", "registry", "notifier", "rabbitmq", "postgres", "caddy"]
)
async def test_tokens_go_on_and_nothing_is_lost(replicas: Stack, service: str) -> None:
    """A crash costs the requests that were in hand there, and nobody else anything."""
    steady = await replicas.create(f"steady, whatever {service} does")
    for number, victim in enumerate(await replicas.containers(service)):
        name = f"{service} {number}"
        async with Load(replicas.url["token"], steady) as load:
            async with asyncio.TaskGroup() as together:
                changing = together.create_task(change(replicas, name))
                await kill(replicas, victim)
            stays, goes = changing.result()
            await load.goes_on()

        assert set(load.failed) <= IN_HAND.get(service, set()), load.outcomes
        if service == "caddy":
            # Docker takes connections for it, and drops them, until it listens itself.
            assert load.refused + sum(load.failed.values()) > 0
        else:
            assert load.refused == 0
            assert sum(load.failed.values()) <= CLIENTS, load.outcomes
        log = await replicas.run("events", "verify", "--json")
        assert log["sound"]
        assert log["events"] == log["position"]
        for replica in await replicas.containers("token"):
            await eventually(partial(has_true_projection, replicas, replica), 30)
        assert await replicas.gets_token(stays)
        # Nine times, so that each replica is asked.
        assert all([await replicas.is_refused(goes) for _ in range(9)])
        once = service not in MAY_REPEAT_MAIL

        async def owner_was_told(name: str, *, once: bool) -> bool:
            found = await mails_by_subject(replicas, name, once=once)
            assert found == {
                "OAuth application added to your account": 2,
                f"OAuth application deactivated: {name} goes": 1,
            }
            return True

        await eventually(partial(owner_was_told, name, once=once), 30)


async def test_who_crashes_is_started_again(stack: Stack) -> None:
    """By the restart policy: nobody has to be there."""
    crashed = [
        (await stack.containers(service))[0] for service in ("registry", "token", "notifier")
    ]
    for container in crashed:
        # All processes but the first, which ends with them.
        await docker("exec", container.id, "python", "-c", "import os; os.kill(-1, 9)")
    for container in crashed:
        await ended(stack, container)
    await stack.is_well()
    for container in crashed:
        (now,) = [one for one in await stack.containers() if one.id == container.id]
        assert now.facts["RestartCount"] == container.facts["RestartCount"] + 1
    # Fails with another exit status than 0.
    await eventually(lambda: stack.run("status"), 30)
