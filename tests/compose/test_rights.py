"""What a container may do, and what of it can be seen."""

import base64
import json
from typing import Any

from tests.compose.engine import Container, docker, outcome
from tests.compose.stack import Stack

PUBLISHED = {
    "caddy": {"8001/tcp", "8002/tcp", "8003/tcp"},
    "rabbitmq": {"5672/tcp"},
    "mailpit": {"8025/tcp"},
}
CAPABILITIES = {"caddy": ["NET_BIND_SERVICE"]}
NET_BIND_SERVICE = 1 << 10


async def process_facts(container: Container) -> dict[str, str]:
    """Return what the kernel knows of the container's first process."""
    said = await docker("exec", container.id, "cat", "/proc/1/status")
    return dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)


async def test_containers_have_no_rights_to_lose(stack: Stack) -> None:
    """Whoever breaks into a service is nobody there, and finds nothing to write on."""
    for container in await stack.containers():
        host: dict[str, Any] = container.facts["HostConfig"]
        name = container.service
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert (host["CapAdd"] or []) == CAPABILITIES.get(name, []), name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert not host["Privileged"], name
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name


async def test_the_kernel_says_the_same(stack: Stack) -> None:
    """A setting that an engine overlooks protects nobody."""
    for container in await stack.containers():
        if container.state != "running":
            continue
        facts = await process_facts(container)
        assert "0" not in facts["Uid"].split(), container.name
        allowed = NET_BIND_SERVICE if container.service == "caddy" else 0
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(facts[kind], 16) & ~allowed == 0, container.name
        assert facts["NoNewPrivs"] == "1", container.name
        status, _, complaint = await outcome("exec", container.id, "sh", "-c", "echo > /x")
        assert status != 0, container.name
        assert "Read-only file system" in complaint, container.name


async def test_only_what_is_for_others_is_published_and_on_this_host_alone(stack: Stack) -> None:
    """Docker's rules let published ports pass by the host's firewall."""
    for container in await stack.containers():
        bound = container.facts["HostConfig"]["PortBindings"] or {}
        assert set(bound) == PUBLISHED.get(container.service, set())
        assert {one["HostIp"] for places in bound.values() for one in places} <= {"127.0.0.1"}


async def test_no_secret_is_to_be_seen(stack: Stack) -> None:
    """Neither in what the engine tells of a container, nor in what the containers say."""
    application = await stack.create("silent")
    assert await stack.gets_token(application)
    given = f"{application.client_id}:{application.client_secret}".encode()
    hidden = {
        **await stack.secrets(),
        "client_secret": application.client_secret,
        "basic": base64.b64encode(given).decode(),
        "private key": "PRIVATE KEY",
        "address": "@example.com",
        "crash": "Traceback",
    }
    containers = await stack.containers()
    facts = json.dumps([one.facts for one in containers])
    # But for Mailpit: it takes mail to people, and says to whom.
    logs = await stack.logs(*{one.service for one in containers} - {"mailpit"})

    assert [name for name, secret in hidden.items() if secret in facts] == []
    assert [name for name, secret in hidden.items() if secret in logs] == []
    assert logs.count('"level"') > 10
