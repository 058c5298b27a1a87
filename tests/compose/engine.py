"""The Docker engine, by its command line."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SERVICE_LABEL = "com.docker.compose.service"
PROJECT_LABEL = "com.docker.compose.project"


async def docker(
    *arguments: str, given: str = "", environment: Mapping[str, str] | None = None
) -> str:
    """Run `docker` and return what it prints. Raises AssertionError with its complaint."""
    status, out, err = await outcome(*arguments, given=given, environment=environment)
    assert status == 0, f"docker {' '.join(arguments)}: exit status {status}: {err or out}"
    return out


async def outcome(
    *arguments: str, given: str = "", environment: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Run `docker`; return exit status, output and complaints."""
    process = await asyncio.create_subprocess_exec(
        "docker",
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(given.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@dataclass(frozen=True)
class Container:
    """One container, and what the engine knew of it when it was asked."""

    facts: Mapping[str, Any]

    @property
    def id(self) -> str:
        """What the engine calls it."""
        return str(self.facts["Id"])

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.facts["Name"]).removeprefix("/")

    @property
    def service(self) -> str:
        """Its service in the compose file."""
        return str(self.facts["Config"]["Labels"][SERVICE_LABEL])

    @property
    def state(self) -> str:
        """What it does, such as `running` or `exited`."""
        return str(self.facts["State"]["Status"])

    @property
    def started_at(self) -> str:
        """When it started last; another time where it was started again."""
        return str(self.facts["State"]["StartedAt"])

    @property
    def exit_status(self) -> int:
        """How it ended last; 137 where it had to be killed."""
        return int(self.facts["State"]["ExitCode"])

    @property
    def is_well(self) -> bool:
        """Tell whether it is healthy, or was a job that is done."""
        state = self.facts["State"]
        if "Health" in state:
            return self.state == "running" and state["Health"]["Status"] == "healthy"
        return self.state == "exited" and self.exit_status == 0


async def containers_of(project: str) -> list[Container]:
    """Return the containers of a compose project, those too that do not run."""
    labelled = f"label={PROJECT_LABEL}={project}"
    ids = (await docker("ps", "--all", "--quiet", "--filter", labelled)).split()
    if not ids:
        return []
    status, out, _ = await outcome("inspect", *ids)
    # One that was removed meanwhile is no trouble.
    found = [Container(facts) for facts in json.loads(out)]
    assert status == 0 or len(found) < len(ids)
    return sorted(found, key=lambda one: one.name)
