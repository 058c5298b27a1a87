"""The example of an API that follows withdrawals, as its own process beside all the others."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.system import ROOT, System
from tests.support.eventually import eventually
from tests.support.ports import free_port


@asynccontextmanager
async def example(system: System, said: Path, **environment: str) -> AsyncIterator[str]:
    """Run it with a client of its own; yield its address. What it says goes to a file."""
    watcher = await system.create("Orders", owner="ada@example.com", scopes=("events:read",))
    url = f"http://127.0.0.1:{free_port()}"
    environment = {
        **system.environment,
        **environment,
        "PYTHONPATH": str(ROOT),
        "TOKENS": system.issuer,
        "REGISTRY": f"http://localhost:{system.registry.port}",
        "API": url,
    }
    with said.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "docs" / "examples" / "protected_api.py"),
            watcher.client_id,
            watcher.client_secret,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        yield url
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("way", ["by the feed", "by the bus"])
async def test_the_example_refuses_what_was_withdrawn(
    system: System, amqp_url: str, tmp_path: Path, way: str
) -> None:
    """A deactivated client's token, and one that its client revoked; without waiting for `exp`."""
    bob = await system.create("Shop")
    bus = {"AMQP_URL": amqp_url} if way == "by the bus" else {}
    said = tmp_path / "example.log"
    async with example(system, said, **bus) as url, httpx.AsyncClient() as http:

        async def status(token: str) -> int:
            try:
                answer = await http.get(
                    f"{url}/orders", headers={"Authorization": f"Bearer {token}"}
                )
            except httpx.TransportError:
                return 0
            return answer.status_code

        async def fresh() -> str:
            answer = await system.request_token(bob)
            return str(answer.json()["access_token"])

        async def answers(token: str, code: int) -> None:
            async def does() -> bool:
                return await status(token) == code

            await eventually(does, 30)

        await eventually(lambda: system.gets_token(bob))
        first, second = await fresh(), await fresh()
        await answers(first, 200)
        revoked = await http.post(
            f"{system.token.url}/revoke",
            data={"token": first},
            auth=(bob.client_id, bob.client_secret),
        )
        assert revoked.status_code == 200
        await answers(first, 401)
        assert await status(second) == 200
        await system.api("POST", f"/api/applications/{bob.id}/deactivate")
        await answers(second, 401)
    assert ("following the bus" in said.read_text()) == (way == "by the bus")
    assert "Traceback" not in said.read_text()
