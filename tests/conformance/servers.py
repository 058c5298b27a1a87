"""Both servers, each with three clients and with what was used before."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from shared.events import PublicKey
from tests.conformance.place import AUDIENCE, Answer, Client, Place, exchange, public_jwk
from tests.integration.token.house import House
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.unit.token.factories import Application

HERE = Path(__file__).parent
SCOPES = ("applications:read", "events:read")
# Node and npm of the wheel, before any other.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


async def node(*command: str) -> asyncio.subprocess.Process:
    """Start a program of node's here."""
    found = shutil.which(command[0], path=PATH)
    assert found is not None, "node comes with the requirements for development"
    return await asyncio.create_subprocess_exec(
        found,
        *command[1:],
        cwd=HERE,
        env={**os.environ, "PATH": PATH},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )


@asynccontextmanager
async def ours(house: House, **settings: Any) -> AsyncIterator[Place]:
    """Serve the token service, with three clients."""
    keyed, post = Application(scopes=SCOPES), Application(scopes=SCOPES)
    key = PublicKey(kid="k1", alg="ES256", **public_jwk())
    await house.registry.tell(
        house.application.created(), post.created(), keyed.created(keys=(key,))
    )
    async with house.ready(**settings):
        yield Place(
            house.port,
            house.url,
            {"token": "/oauth2-token", "introspect": "/introspect", "revoke": "/revoke"},
            *(Client(one.client_id, one.secret) for one in (house.application, post, keyed)),
        )


@asynccontextmanager
async def peers() -> AsyncIterator[Place]:
    """Serve oidc-provider, with clients of the same names and secrets."""
    install = await node("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    await install.communicate()
    assert install.returncode == 0, "npm ci in tests/conformance"
    port = free_port()
    clients = [Client(one.client_id, one.secret) for one in (Application() for _ in range(3))]
    methods = ("client_secret_basic", "client_secret_post", "private_key_jwt")
    registered = [
        {
            "client_id": one.id,
            "grant_types": ["client_credentials"],
            "redirect_uris": [],
            "response_types": [],
            "id_token_signed_response_alg": "ES256",
            "scope": " ".join(SCOPES),
            "token_endpoint_auth_method": method,
            **(
                {"jwks": {"keys": [{**public_jwk(), "kid": "k1", "alg": "ES256"}]}}
                if method == "private_key_jwt"
                else {"client_secret": one.secret}
            ),
        }
        for one, method in zip(clients, methods, strict=True)
    ]
    told = {"port": port, "audience": AUDIENCE, "clients": registered, "algorithm": "ES256"}
    process = await node("node", "peer.mjs", json.dumps(told))
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield Place(
            port,
            f"http://127.0.0.1:{port}",
            {
                "token": "/token",
                "introspect": "/token/introspection",
                "revoke": "/token/revocation",
            },
            *clients,
        )
    finally:
        # The wheel's node is a program that starts another.
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def prepare(place: Place) -> None:
    """Let some tokens be issued, an assertion and a proof be used."""

    async def used(request: bytes) -> Answer:
        found: list[Answer] = []

        async def is_good() -> bool:
            found.append(await exchange(place, request))
            return found[-1].status == 200

        # The second and third client arrive by events.
        await eventually(is_good)
        return found[-1]

    place.tokens["basic"] = (await used(place.by_basic())).members["access_token"]
    place.tokens["post"] = (await used(place.ask(place.by_post()))).members["access_token"]
    place.tokens["assertion"] = place.assertion()
    await used(place.ask(place.by_key(place.tokens["assertion"])))
    place.tokens["proof"] = place.proof()
    await used(place.by_basic(headers=[f"DPoP: {place.tokens['proof']}"]))
