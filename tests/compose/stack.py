"""The containers of `deploy/docker-compose.yml`, with names and ports of their own."""

import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.compose.engine import Container, containers_of, docker
from tests.e2e.system import ALL_SCOPES, Credentials
from tests.support.eventually import eventually
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
FILES = (ROOT / "deploy" / "docker-compose.yml", Path(__file__).with_name("settings.yml"))
# The same for a checkout: the next run removes what a killed one left.
PROJECT = f"oauthapps-test-{hashlib.sha256(bytes(ROOT)).hexdigest()[:8]}"
PORTS = ("registry", "token", "notifier", "bus", "mailpit")
# RabbitMQ is asked every fifteen seconds, and may need a while to start.
HEALTHY_SECONDS = 120.0
PASSWORD = "correct horse battery"
# Asks a service from inside its container, whatever stands in front of it.
ASK = """
import json, sys, urllib.request, urllib.error
asked = json.load(sys.stdin)
request = urllib.request.Request(asked["url"], headers=asked["headers"])
try:
    answer = urllib.request.urlopen(request, (asked["body"] or "").encode() or None, timeout=30)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.read().decode()]))
"""


@dataclass(frozen=True)
class Answer:
    """What a service said to one who asked from inside."""

    status: int
    body: str


class Stack:
    """All containers, from `up` to `down --volumes`."""

    def __init__(self) -> None:
        ports = {name: free_port() for name in PORTS}
        self.url = {name: f"http://localhost:{port}" for name, port in ports.items()}
        self.bus = f"localhost:{ports['bus']}"
        self._environment = {
            **os.environ,
            "OAUTHAPPS_IMAGE": PROJECT,
            **{f"OAUTHAPPS_{name.upper()}_PORT": str(port) for name, port in ports.items()},
            **{f"OAUTHAPPS_{name.upper()}_URL": self.url[name] for name in PORTS[:3]},
        }
        self.http = httpx.AsyncClient(timeout=30)
        self._operator: Credentials | None = None

    async def __aenter__(self) -> Self:
        await self._down()
        try:
            await self.compose("up", "--detach", "--build", "--quiet-pull")
            await self.is_well()
            await self._settle()
        except BaseException as error:
            error.add_note(await self.logs("--tail", "50"))
            await self._down()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.http.aclose()
        await self._down()
        await docker("image", "rm", "--force", PROJECT)

    async def compose(self, *arguments: str) -> str:
        """Run `docker compose`, without settings of the checkout's own."""
        files = [part for file in FILES for part in ("--file", str(file))]
        where = ("--project-name", PROJECT, *files, "--env-file", os.devnull)
        plain = ("--ansi", "never", "--progress", "quiet")
        return await docker(
            "compose", *plain, *where, "--profile", "dev", *arguments, environment=self._environment
        )

    async def containers(self, *services: str) -> list[Container]:
        """Return all containers, or those of services."""
        found = await containers_of(PROJECT)
        return [one for one in found if not services or one.service in services]

    async def container(self, service: str) -> Container:
        """Return the one container of a service."""
        (found,) = await self.containers(service)
        return found

    async def is_well(self) -> None:
        """Wait until every container is healthy. Raises AssertionError with those that are not."""

        async def healthy() -> bool:
            ill = {one.name: one.state for one in await self.containers() if not one.is_well}
            assert not ill
            return True

        await eventually(healthy, HEALTHY_SECONDS)

    async def run(self, *arguments: str, given: str = "", inside: Container | None = None) -> Any:
        """Run a command of the command line in a container, parsed where it is JSON."""
        place = inside or await self.container("registry")
        out = await docker("exec", "--interactive", place.id, "oauthapps", *arguments, given=given)
        return json.loads(out) if "--json" in arguments else out

    async def ask(
        self, place: Container, url: str, body: str | None = None, **headers: str
    ) -> Answer:
        """Ask a service in its container, a POST where there is a body."""
        asked = json.dumps({"url": url, "body": body, "headers": headers})
        said = await docker("exec", "--interactive", place.id, "python", "-c", ASK, given=asked)
        return Answer(*json.loads(said))

    async def request_token(self, application: Credentials) -> httpx.Response:
        """Ask for a token as clients do, whatever the answer is."""
        return await self.http.post(
            f"{self.url['token']}/oauth2-token",
            data={"grant_type": "client_credentials"},
            auth=(application.client_id, application.client_secret),
        )

    async def gets_token(self, application: Credentials) -> bool:
        """Tell whether the application gets a token now."""
        return (await self.request_token(application)).status_code == 200

    async def is_refused(self, application: Credentials) -> bool:
        """Tell whether the application is refused now."""
        return (await self.request_token(application)).status_code == 401

    async def api(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> httpx.Response:
        """Call the REST API as an administrator."""
        assert self._operator is not None
        answer = await self.request_token(self._operator)
        answer.raise_for_status()
        headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        url = f"{self.url['registry']}{path}"
        return await self.http.request(method, url, json=body, headers=headers)

    async def post(self, path: str, body: object = None) -> dict[str, Any]:
        """Send a POST until it was done, under one key as docs/api.md says; return the answer."""
        key = {"Idempotency-Key": str(uuid.uuid4())}

        async def done() -> dict[str, Any]:
            try:
                answer = await self.api("POST", path, body, **key)
            except httpx.HTTPError as error:
                raise AssertionError(error) from None
            assert answer.is_success, answer.text
            found: dict[str, Any] = answer.json()
            return found

        made: dict[str, Any] = await eventually(done, HEALTHY_SECONDS)
        return made

    async def create(self, name: str) -> Credentials:
        """Add an application of Bob's over HTTP."""
        made = await self.post("/api/applications", {"name": name, "owner": "bob@example.com"})
        return Credentials(made["id"], made["client_id"], made["client_secret"])

    async def deactivate(self, application: Credentials) -> None:
        """Deactivate an application over HTTP."""
        await self.post(f"/api/applications/{application.id}/deactivate")

    async def mails_about(self, name: str) -> list[dict[str, Any]]:
        """Return the mails in Mailpit that name an application and are for Bob."""
        query = {"query": f'to:bob@example.com "{name}"', "limit": "500"}
        answer = await self.http.get(f"{self.url['mailpit']}/api/v1/search", params=query)
        answer.raise_for_status()
        messages: list[dict[str, Any]] = answer.json()["messages"]
        return messages

    async def logs(self, *options: str) -> str:
        """Return what the containers have said."""
        return await self.compose("logs", "--no-color", *options)

    async def secrets(self) -> dict[str, str]:
        """Return all secrets of the stack, by their names."""
        script = (
            "import json, pathlib; print(json.dumps({one.name: one.read_text().strip()"
            " for one in pathlib.Path('volumes/all').iterdir()}))"
        )
        command = ("run", "--rm", "--no-deps", "--entrypoint", "python", "secrets", "-c", script)
        made: dict[str, str] = json.loads(await self.compose(*command))
        return made

    async def _settle(self) -> None:
        await self.run("organizations", "add", "ACME")
        for email, name, *options in (
            ("ada@example.com", "Ada", "--administrator"),
            ("bob@example.com", "Bob"),
        ):
            await self.run(
                *("users", "add", email, "--name", name, "--organization", "ACME"),
                *(*options, "--password-stdin"),
                given=f"{PASSWORD}\n",
            )
        scopes = [part for scope in ALL_SCOPES for part in ("--scope", scope)]
        made = await self.run(
            *("applications", "create", "--owner", "ada@example.com", "--name", "operator"),
            *(*scopes, "--json"),
        )
        self._operator = Credentials(made["id"], made["client_id"], made["client_secret"])

    async def _down(self) -> None:
        await self.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")
