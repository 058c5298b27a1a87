"""The service as an operator runs it: `oauthapps token serve`, with one worker and several."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.integration.token.house import House
from tests.integration.token.test_assertions import Client
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.readiness import is_ready
from tests.unit.token.factories import Application


def environment(house: House) -> dict[str, str]:
    return {
        **os.environ,
        "OAUTHAPPS_VAR": str(house.var),
        "OAUTHAPPS_REGISTRY__INTERNAL_URL": house.registry.url,
    }


@asynccontextmanager
async def oauthapps(house: House, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command line; end it, and everything it started, at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services",
        *arguments,
        env=environment(house),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@asynccontextmanager
async def served(
    house: House, workers: int
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    port = str(house.port)
    arguments = ("token", "serve", "--port", port, "--workers", str(workers))
    # A connection each: one that is kept alive would talk to the same worker all the time.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with (
        house.registry.serving(),
        oauthapps(house, *arguments) as process,
        httpx.AsyncClient(base_url=house.url, limits=limits, trust_env=False) as http,
    ):
        await eventually(lambda: _answers(http), seconds=30)
        yield process, http


def children_of(pid: int) -> list[int]:
    """Return the worker processes; multiprocessing starts a tracker of resources beside them."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def holder_of(house: House) -> int:
    """Return the process that has locked the projector's file."""
    inode = (house.var / "projection" / "projector.lock").stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "->" not in fields and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    return 0


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return await is_ready(http)
    except httpx.TransportError:
        return False


async def _status(http: httpx.AsyncClient, form: dict[str, str]) -> int:
    return (await http.post("/token", data=form)).status_code


async def test_one_worker_serves_and_ends_at_once(house: House) -> None:
    """Ctrl-C and `docker stop` take less than two seconds."""
    house.make_keys()
    await house.registry.tell(house.application.created())
    for number in (signal.SIGINT, signal.SIGTERM):
        async with served(house, 1) as (process, http):
            assert await _status(http, house.request()) == 200

            process.send_signal(number)
            async with asyncio.timeout(3):
                assert await process.wait() == 0


async def test_several_workers_share_one_projection_and_one_projector(house: House) -> None:
    """Each answers from what one of them writes; the port alone makes the issuer."""
    house.make_keys()
    await house.registry.tell(house.application.created())
    async with served(house, 2) as (process, http):
        assert len(await eventually(lambda: children_of(process.pid))) == 2
        snapshots = house.registry.asked["snapshot"]

        await house.registry.tell(house.application.deactivated())
        await eventually(lambda: _all_are(http, house, 401))
        await house.registry.tell(house.application.activated())
        await eventually(lambda: _all_are(http, house, 200))

        assert holder_of(house) in children_of(process.pid)
        assert snapshots == house.registry.asked["snapshot"] == 1
        metadata = (await http.get("/.well-known/oauth-authorization-server")).json()
        assert metadata["issuer"] == f"http://localhost:{house.port}"


async def test_a_killed_projector_is_replaced(house: House) -> None:
    """Kill -9: the lock goes with the process, another worker goes on where it was.

    What was answered before stands: a token is good, an assertion is used up.
    """
    house.make_keys()
    signer = Client(house)
    await house.registry.tell(house.application.created(), signer.created())
    async with served(house, 2) as (process, http):
        first = await eventually(lambda: holder_of(house))
        used = signer.form(signer.assertion(aud=f"http://localhost:{house.port}"))
        answer = await http.post("/token", data=used)
        assert answer.status_code == 200
        os.kill(first, signal.SIGKILL)

        second = await eventually(lambda: _other_than(holder_of(house), first))
        other = Application()
        await house.registry.tell(other.created())
        form = house.request(client_id=other.client_id, client_secret=other.secret)

        await eventually(lambda: _is_served(http, form))
        assert second != first
        # The supervisor brings back what was killed.
        await eventually(lambda: len(children_of(process.pid)) == 2)
        assert house.registry.asked["snapshot"] == 1
        assert await _status(http, used) == 401
        token = answer.json()["access_token"]
        fresh = signer.assertion(aud=f"http://localhost:{house.port}")
        found = await http.post("/introspect", data=signer.form(fresh, token=token))
        assert found.json()["active"] is True


async def test_a_service_killed_at_any_time_goes_on_where_it_was(house: House) -> None:
    """Kill -9 while events stream in: no event is lost, none is applied twice."""
    house.make_keys()
    await house.registry.tell(house.application.created())
    applications = [Application() for _ in range(60)]
    for start in range(0, 60, 20):
        async with served(house, 1) as (process, _):
            for one in applications[start : start + 20]:
                await house.registry.tell(one.created(), one.deactivated(), one.activated())
            process.kill()
            await process.wait()
    async with served(house, 1) as (_, http):
        for one in applications:
            form = house.request(client_id=one.client_id, client_secret=one.secret)
            assert await _status(http, form) == 200
    assert house.registry.asked["snapshot"] == 1


async def test_a_port_in_use_is_one_line(house: House) -> None:
    """It names the port and the option that moves it."""
    port = str(free_port())
    async with oauthapps(house, "token", "serve", "--port", port):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            await eventually(lambda: _is_live(http), seconds=30)
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services", "token", "serve", "--port", port),
            env=environment(house),
            stderr=asyncio.subprocess.PIPE,
        )
        _, stderr = await second.communicate()

    assert second.returncode == 1
    assert len(stderr.splitlines()) == 1
    assert f":{port}".encode() in stderr
    assert b"--port" in stderr


async def _is_live(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/livez")).status_code == 200
    except httpx.TransportError:
        return False


async def _all_are(http: httpx.AsyncClient, house: House, expected: int) -> bool:
    """Ask often enough that each worker is very likely to be among those who answer."""
    found = [await _status(http, house.request()) for _ in range(20)]
    return set(found) == {expected}


async def _is_served(http: httpx.AsyncClient, form: dict[str, str]) -> bool:
    try:
        return await _status(http, form) == 200
    except httpx.TransportError:
        # Whoever talked to the killed worker tries again.
        return False


def _other_than(pid: int, known: int) -> int:
    return 0 if pid == known else pid
