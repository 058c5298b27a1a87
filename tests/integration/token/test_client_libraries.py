"""Client libraries that real users have, each as a process of its own, against the service.

Those of node come by `npm ci` from `tests/clients/package-lock.json`, into a folder beside it.
"""

import asyncio
import fcntl
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from shared.events import PublicKey
from tests.integration.token.house import House
from tests.support.eventually import eventually
from tests.unit.token.factories import Application

CLIENTS = Path(__file__).parents[2] / "clients"
ENVIRONMENT = {
    **os.environ,
    "OAUTHLIB_INSECURE_TRANSPORT": "1",
    "AUTHLIB_INSECURE_TRANSPORT": "1",
    "NO_PROXY": "127.0.0.1",
    # Node and npm of the wheel, before any other.
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
}


async def printed(*command: str | Path) -> list[str]:
    """Return the lines that a program prints."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=CLIENTS,
        env=ENVIRONMENT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode().split("\n")[:-1]


@pytest.fixture(scope="session")
def node() -> str:
    """Return the program, with the libraries in place; only one process of tests gets them."""
    program = shutil.which("node", path=ENVIRONMENT["PATH"])
    assert program is not None, "node comes with the requirements for development"
    modules = CLIENTS / "node_modules"
    with (CLIENTS / ".installing").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed = modules / ".package-lock.json"
        wanted = (CLIENTS / "package-lock.json").stat().st_mtime
        if not installed.exists() or installed.stat().st_mtime < wanted:
            asyncio.run(printed("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"))
    return program


def verify(house: House, token: str) -> dict[str, Any]:
    """Verify as a resource server does, with PyJWT's own client of the JWKS."""
    keys = jwt.PyJWKClient(f"{house.url}/.well-known/jwks.json")
    claims: dict[str, Any] = jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token),
        algorithms=["ES256"],
        issuer=house.url,
        audience="https://api.example",
    )
    return claims


async def assert_good(house: House, client_id: str, tokens: list[str]) -> None:
    """Verify what a library obtained."""
    assert tokens
    for token in tokens:
        claims = await asyncio.to_thread(verify, house, token)
        assert (claims["client_id"], claims["scope"]) == (client_id, "events:read")


@pytest.mark.parametrize(
    "library", ["requests_oauthlib_client", "authlib_client", "aiohttp_client"]
)
async def test_libraries_of_python(house: House, http: httpx.AsyncClient, library: str) -> None:
    """requests-oauthlib, Authlib and aiohttp-oauth2-client, in every way that they know."""
    one = house.application
    program = CLIENTS / f"{library}.py"
    tokens = await printed(sys.executable, program, house.url, one.client_id, one.secret)
    await assert_good(house, one.client_id, tokens)


@pytest.mark.parametrize("library", ["simple_oauth2", "badgateway"])
async def test_libraries_of_node(
    node: str, house: House, http: httpx.AsyncClient, library: str
) -> None:
    """simple-oauth2 and @badgateway/oauth2-client; verified by jose and by PyJWT."""
    one = house.application
    program = CLIENTS / f"{library}.mjs"
    tokens = await printed(node, program, house.url, one.client_id, one.secret)
    await assert_good(house, one.client_id, tokens)
    proof = CLIENTS / "verify.mjs"
    verified = await printed(node, proof, house.url, "https://api.example", *tokens)
    assert set(verified) == {f"{one.client_id} events:read"}


async def test_a_library_with_a_key(house: House, http: httpx.AsyncClient, tmp_path: Path) -> None:
    """Authlib's private_key_jwt, which knows RSA alone."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file = tmp_path / "app.key"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    jwk: Any = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    public = PublicKey(kty="RSA", kid="k1", alg="RS256", n=jwk["n"], e=jwk["e"])
    keyed = Application(scopes=("events:read",))
    await house.registry.tell(keyed.created(keys=(public,)))

    async def obtained() -> list[str]:
        return await printed(
            sys.executable, CLIENTS / "authlib_keys.py", house.url, keyed.client_id, file
        )

    tokens = await eventually(obtained, 30)
    await assert_good(house, keyed.client_id, tokens)


async def test_a_library_understands_a_refusal(house: House, http: httpx.AsyncClient) -> None:
    """The error is the RFC's, so requests-oauthlib knows it by name."""
    program = CLIENTS / "requests_oauthlib_client.py"
    with pytest.raises(AssertionError, match="InvalidClientError"):
        await printed(sys.executable, program, house.url, house.application.client_id, "oas_wrong")
