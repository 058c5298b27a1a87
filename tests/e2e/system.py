"""The three services as three processes, as an operator starts them, and a hand to break them."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.eventually import eventually
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
SERVICES = ("registry", "token", "notifier")
ALL_SCOPES = ("applications:read", "applications:write", "events:read")
START_SECONDS = 30.0


@dataclass
class Service:
    """One process that can be ended politely or not, and started again."""

    name: str
    port: int
    environment: Mapping[str, str]
    log: Path
    http: httpx.AsyncClient
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self, *options: str) -> None:
        """Start it; see `ready`."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services",
                self.name,
                "serve",
                *options,
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def ready(self) -> None:
        """Wait until it says it is ready."""

        async def answers() -> bool:
            assert self.process is not None
            assert self.process.returncode is None, self.log.read_text()
            return (await self.readiness())[0] == 200

        await eventually(answers, START_SECONDS)

    async def readiness(self) -> tuple[int, dict[str, str]]:
        """Return status and checks; 0 while it does not answer."""
        try:
            response = await self.http.get(f"{self.url}/readyz", timeout=5)
        except httpx.HTTPError:
            return 0, {}
        return response.status_code, response.json()["checks"]

    async def stop(self) -> None:
        """End it as an operator does."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a crash does, with its children."""
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is not None and process.returncode is None:
            os.killpg(process.pid, how)
            await process.wait()


@dataclass
class Credentials:
    """What an application has to present."""

    id: str
    client_id: str
    client_secret: str = field(repr=False)


async def command(environment: Mapping[str, str], *arguments: str, given: str = "") -> Any:
    """Run a command of the command line; return what it prints, parsed where it is JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "services"),
        *arguments,
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(given.encode())
    assert process.returncode == 0, err.decode()
    return json.loads(out) if "--json" in arguments else out.decode()


def environment_of(var: Path, database_url: str) -> dict[str, str]:
    """Return what every process of an installation is told."""
    return {
        **os.environ,
        "OAUTHAPPS_CONFIG": str(ROOT / "config.yml"),
        "OAUTHAPPS_VAR": str(var),
        "OAUTHAPPS_REGISTRY__DATABASE__URL": database_url,
        "OAUTHAPPS_NOTIFIER__DATABASE__URL": database_url,
    }


async def install(var: Path, database_url: str) -> None:
    """Do what an operator does first: schemas, keys, and ACME with Ada and Bob."""
    run = partial(command, environment_of(var, database_url))
    await run("migrate")
    await run("keys", "generate")
    await run("organizations", "add", "ACME")
    for email, name, *options in (
        ("ada@example.com", "Ada", "--administrator"),
        ("bob@example.com", "Bob"),
    ):
        await run(
            *("users", "add", email, "--name", name, "--organization", "ACME"),
            *(*options, "--password-stdin"),
            given="correct horse battery\n",
        )


class System:
    """Registry, token service and notifier of an installation that is this test's alone."""

    def __init__(
        self,
        var: Path,
        database_url: str,
        *,
        smtp_port: int,
        amqp_url: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        ports = {name: free_port() for name in SERVICES}
        self.environment = {
            **environment_of(var, database_url),
            "OAUTHAPPS_NOTIFIER__SMTP__PORT": str(smtp_port),
            "OAUTHAPPS_NOTIFIER__RETRY_FIRST": "200ms",
            "OAUTHAPPS_TOKEN__USAGE_INTERVAL": "500ms",
            # A test asks for more in a minute than anybody should.
            "OAUTHAPPS_REGISTRY__RATE_LIMITS__READS_PER_MINUTE": "100000",
            "OAUTHAPPS_REGISTRY__RATE_LIMITS__WRITES_PER_MINUTE": "100000",
            "OAUTHAPPS_REGISTRY__RATE_LIMITS__FAILED_AUTHENTICATIONS_PER_MINUTE": "100000",
            "OAUTHAPPS_TOKEN__FAILURES__PER_CLIENT_AND_MINUTE": "100000",
            "OAUTHAPPS_TOKEN__FAILURES__PER_ADDRESS_AND_MINUTE": "100000",
            **{f"OAUTHAPPS_{name.upper()}__PORT": str(port) for name, port in ports.items()},
            **(settings or {}),
        }
        if amqp_url is not None:
            self.environment["OAUTHAPPS_BUS__URL"] = amqp_url
        self.var = var
        self.http = httpx.AsyncClient(timeout=30)
        self.registry, self.token, self.notifier = (
            Service(name, ports[name], dict(self.environment), var / f"{name}.log", self.http)
            for name in SERVICES
        )
        self._stack = AsyncExitStack()
        self._operator: Credentials | None = None

    @property
    def issuer(self) -> str:
        """The token service as clients know it."""
        return f"http://localhost:{self.token.port}"

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self.http.aclose)
        for service in (self.registry, self.token, self.notifier):
            self._stack.push_async_callback(service.kill)
        for service in (self.registry, self.token, self.notifier):
            await service.start()
        for service in (self.registry, self.token, self.notifier):
            await service.ready()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def run(self, *arguments: str, given: str = "") -> Any:
        """Run a command of the command line; see `command`."""
        return await command(self.environment, *arguments, given=given)

    async def create(
        self, name: str, *, owner: str = "bob@example.com", scopes: tuple[str, ...] = ()
    ) -> Credentials:
        """Add an application by the command line."""
        options = [part for scope in scopes for part in ("--scope", scope)]
        made = await self.run(
            "applications", "create", "--owner", owner, "--name", name, *options, "--json"
        )
        return Credentials(made["id"], made["client_id"], made["client_secret"])

    async def request_token(self, credentials: Credentials) -> httpx.Response:
        """Ask for a token, whatever the answer is."""
        return await self.http.post(
            f"{self.token.url}/oauth2-token",
            data={"grant_type": "client_credentials"},
            auth=(credentials.client_id, credentials.client_secret),
        )

    async def gets_token(self, credentials: Credentials) -> bool:
        """Tell whether the application gets a token now."""
        return (await self.request_token(credentials)).status_code == 200

    async def is_refused(self, credentials: Credentials) -> bool:
        """Tell whether the application is refused now."""
        return (await self.request_token(credentials)).status_code == 401

    async def api(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> httpx.Response:
        """Call the registry's REST API as an administrator."""
        if self._operator is None:
            self._operator = await self.create(
                "operator", owner="ada@example.com", scopes=ALL_SCOPES
            )
        answer = await self.request_token(self._operator)
        answer.raise_for_status()
        headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return await self.http.request(
            method, f"{self.registry.url}{path}", json=body, headers=headers
        )

    async def create_by_api(self, name: str, owner: str = "bob@example.com") -> Credentials:
        """Add an application over HTTP."""
        answer = await self.api("POST", "/api/applications", {"name": name, "owner": owner})
        assert answer.status_code == 201, answer.text
        made = answer.json()
        return Credentials(made["id"], made["client_id"], made["client_secret"])

    async def projection_is_true(self) -> bool:
        """Tell whether the projection equals the registry, by checksum and at its head."""
        row = await self.run("projection", "verify", "--json")
        return bool(row["same"])

    def logs(self) -> str:
        """Return everything the services have logged."""
        return "".join(one.log.read_text() for one in (self.registry, self.token, self.notifier))
