"""What the token service notes arrives at the registry."""

from tests.e2e.system import System
from tests.support.eventually import eventually


async def test_a_token_is_a_use_of_its_secret(system: System) -> None:
    """Also when the registry was away when it was obtained, and when the token service stops."""
    bob = await system.create("CI")

    async def uses() -> int:
        answer = await system.api("GET", f"/api/applications/{bob.id}/usage")
        return sum(day["count"] for day in answer.json()["items"])

    async def is_counted(count: int) -> bool:
        return await uses() == count

    await eventually(lambda: system.gets_token(bob))
    await eventually(lambda: is_counted(1), 30)
    await system.registry.kill()
    assert await system.gets_token(bob)
    await system.registry.start()
    await system.registry.ready()
    await eventually(lambda: is_counted(2), 30)
    assert await system.gets_token(bob)
    await system.token.stop()
    await system.token.start()
    await system.token.ready()
    await eventually(lambda: is_counted(3), 30)
    shown = (await system.api("GET", f"/api/applications/{bob.id}")).json()
    assert shown["last_used_at"] == shown["secrets"][0]["last_used_at"] is not None
