"""`oauthapps keys` and `oauthapps projection`."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from services.token import cli
from services.token.app import create_app
from services.token.projection import Projection
from shared.clients import SnapshotHead
from tests.integration.token.house import House, serving
from tests.integration.token.test_processes import environment
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.readiness import is_ready
from tests.unit.token.factories import Application


async def run(house: House, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line to its end, while the registry goes on."""
    command = [sys.executable, "-m", "services", *arguments]
    return await asyncio.to_thread(
        lambda: subprocess.run(
            command, env=environment(house), capture_output=True, text=True, check=False
        )
    )


async def printed(house: House, *arguments: str) -> Any:
    """Return what a command prints as JSON."""
    result = await run(house, *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def assert_one_line(result: "subprocess.CompletedProcess[str]", *words: str) -> None:
    assert (result.returncode, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


async def test_keys_are_generated_listed_and_never_overwritten(house: House) -> None:
    """Each refusal is one line that says what to do."""
    assert_one_line(await run(house, "keys", "list"), "no such file", "keys generate")

    made = await printed(house, "keys", "generate", "--algorithm", "ES256")
    again = await run(house, "keys", "generate")

    assert made["algorithm"] == "ES256"
    assert stat.S_IMODE(os.stat(made["private_key"]).st_mode) == 0o600  # noqa: PTH116
    assert_one_line(again, "oauth_private.key", "not overwritten")
    (listed,) = await printed(house, "keys", "list")
    assert (made["kid"], "current") == (listed["kid"], listed["state"])
    os.chmod(made["private_key"], 0o644)  # noqa: PTH101
    assert_one_line(await run(house, "keys", "list"), "chmod 600")


async def test_keys_are_rotated_with_a_time_ahead(house: House) -> None:
    """One at a time; `keys list` says whose turn is when."""
    assert_one_line(await run(house, "keys", "rotate"), "no such file", "keys generate")
    made = await printed(house, "keys", "generate", "--algorithm", "ES256")
    assert (await run(house, "keys", "rotate", "--ahead", "soon")).returncode == 2
    planned = await printed(house, "keys", "rotate", "--algorithm", "rs256", "--ahead", "1h")

    assert [(one["state"], one["algorithm"]) for one in planned] == [
        ("current", "ES256"),
        ("next", "RS256"),
    ]
    assert planned == await printed(house, "keys", "list")
    assert planned[0]["kid"] == made["kid"]
    assert planned[1]["signs_from"] < planned[0]["published_until"]
    assert_one_line(await run(house, "keys", "rotate"), "under way", "wait until then")


async def test_no_request_is_refused_while_keys_are_rotated(house: House) -> None:
    """Two services on one folder: each token is verified by what both publish at that moment."""
    async with house.ready() as http, other_on(house) as second:
        services = (http, second)
        kids = set()
        for _ in range(3):
            rotated = await printed(house, "keys", "rotate", "--ahead", "0s")
            wanted = rotated[0]["kid"]

            async def signs(wanted: str = wanted) -> bool:
                signed = []
                for one in services:
                    answer = await one.post("/oauth2-token", data=house.request())
                    answer.raise_for_status()
                    token = answer.json()["access_token"]
                    signed.append(jwt.get_unverified_header(token)["kid"])
                    jwks = (await one.get("/.well-known/jwks.json")).json()
                    key = jwt.PyJWKSet.from_dict(jwks)[signed[-1]]
                    jwt.decode(token, key, audience="https://api.example")
                return signed == [wanted, wanted]

            await eventually(signs)
            kids.add(wanted)
        assert len(kids) == 3


@asynccontextmanager
async def other_on(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a second token service with the same keys, and a copy of its own of the clients."""
    port = free_port()
    settings = house.settings(projection=Path("projection-2"))
    async with (
        serving(create_app(settings), port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        await eventually(lambda: is_ready(http))
        yield http


async def test_an_unknown_algorithm_is_a_usage_error(house: House) -> None:
    """Status 2, and nothing is made."""
    result = await run(house, "keys", "generate", "--algorithm", "HS256")

    assert result.returncode == 2
    assert "RS256, ES256 or EdDSA" in result.stderr
    assert not (house.var / "oauth_private.key").exists()


async def test_the_projection_is_told_verified_and_rebuilt(house: House) -> None:
    """While the service runs, and without disturbing it."""
    absent = await run(house, "projection", "status")
    assert_one_line(absent, "no projection yet")
    async with house.ready() as http:
        status = await printed(house, "projection", "status")
        verified = await printed(house, "projection", "verify")
        rebuilt = await printed(house, "projection", "rebuild")

        assert (await http.post("/token", data=house.request())).status_code == 200
        assert (status["log_epoch"], status["position"]) == (house.registry.log_epoch, 1)
        assert status["clients"] == 1
        assert status["confirmed_seconds_ago"] < 60
        assert verified["same"] is True
        assert rebuilt == {"position": 1, "clients": 1, "rebuilt": True}
        # Followed on as before.
        other = Application()
        await house.registry.tell(other.created())
        form = house.request(client_id=other.client_id, client_secret=other.secret)
        assert (await http.post("/token", data=form)).status_code == 200


async def test_a_projection_that_differs_is_found_and_mended(house: House) -> None:
    """Status 1 for scripts; `rebuild` is the remedy that it names."""
    await house.registry.tell(house.application.created())
    store = Projection(house.var / "projection", map_size=2**24)

    async def nobody() -> Any:
        return
        yield

    await store.replace_all(SnapshotHead(log_epoch=house.registry.log_epoch, position=1), nobody())
    store.close()
    async with house.registry.serving():
        differs = await run(house, "projection", "verify", "--json")
        assert differs.returncode == 1
        assert json.loads(differs.stdout)["same"] is False
        assert "projection rebuild" in differs.stderr

        await printed(house, "projection", "rebuild")
        assert (await printed(house, "projection", "verify"))["same"] is True


async def test_without_a_registry_verify_and_rebuild_say_so(house: House) -> None:
    """One line, and the store is as it was."""
    async with house.ready():
        pass
    for command in ("verify", "rebuild"):
        assert_one_line(await run(house, "projection", command), "registry")
    assert (await printed(house, "projection", "status"))["clients"] == 1


async def test_the_command_line_never_clears_a_damaged_store(house: House) -> None:
    """A running service has it open."""
    async with house.ready():
        pass
    file = house.var / "projection" / "lmdb" / "data.mdb"
    file.write_bytes(b"x" * 50_000)

    assert_one_line(await run(house, "projection", "status"), "not a projection", "restart")

    assert file.read_bytes() == b"x" * 50_000


@pytest.mark.parametrize("name", ["token", "keys", "projection"])
def test_every_command_has_a_help_text(name: str) -> None:
    """`--help` is the manual that is always at hand."""
    group = getattr(cli, name)

    assert group.info.help
    assert all(one.callback and one.callback.__doc__ for one in group.registered_commands)
