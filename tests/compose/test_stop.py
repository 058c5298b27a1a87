"""Containers are stopped and started again, as for an update, and nobody notices."""

from tests.compose.engine import Container, docker
from tests.compose.load import Load
from tests.compose.stack import Stack
from tests.support.eventually import eventually

# Docker kills what needs longer; then its exit status is 137.
STOP_SECONDS = 10


async def stop(stack: Stack, container: Container) -> None:
    """Stop a container. Raises AssertionError unless it ended by itself, and well."""
    await docker("stop", "--time", str(STOP_SECONDS), container.id)
    (now,) = [one for one in await stack.containers(container.service) if one.id == container.id]
    assert now.state == "exited"
    assert now.exit_status == 0, container.name


async def test_a_rolling_restart_costs_no_request(replicas: Stack) -> None:
    """Not one answer but a token, and not one connection that is refused or broken."""
    async with Load(replicas.url["token"], await replicas.create("restarted")) as load:
        for container in await replicas.containers("token", "registry", "notifier"):
            await stop(replicas, container)
            await docker("start", container.id)
            await replicas.is_well()
            await load.goes_on()

    assert load.failed == {}, load.said
    assert load.refused == 0


async def test_a_replica_is_replaced_without_a_lost_request(replicas: Stack) -> None:
    """As docs/containers.md has it for an update: the new one begins with nothing."""
    (first, *_) = await replicas.containers("token")
    async with Load(replicas.url["token"], await replicas.create("replaced")) as load:
        await stop(replicas, first)
        await docker("rm", "--volumes", first.id)
        scale = ("--scale", "token=3", "token")
        await replicas.compose("up", "--detach", "--no-build", "--no-deps", "--no-recreate", *scale)
        await replicas.is_well()
        await load.goes_on()

    assert first.id not in {one.id for one in await replicas.containers("token")}
    assert load.failed == {}, load.said
    assert load.refused == 0


async def test_all_of_it_is_stopped_and_started(stack: Stack) -> None:
    """The host is rebooted: all ends at once by itself, and comes back with what it knew."""
    application = await stack.create("lasting")
    names = [one.name for one in await stack.containers() if one.state == "running"]
    await docker("stop", "--time", "60", *names)
    ended = {one.name: one.exit_status for one in await stack.containers()}
    assert set(ended.values()) == {0}, ended
    await docker("start", *names)
    await stack.is_well()

    assert await stack.gets_token(application)
    # Fails with another exit status than 0.
    await eventually(lambda: stack.run("status"), 30)
