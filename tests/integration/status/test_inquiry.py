"""Asking services that are many, slow, or something else altogether."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.status import inquiry
from services.status.findings import find
from services.status.inquiry import Answers, inquire
from services.status.shape import Status
from shared.config import Settings
from shared.sections import Bus, Notifier, Registry, Token
from shared.server import Server, bind
from shared.web import health_routes
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.unit.status.test_findings import NOON

Handler = Callable[[Request], Awaitable[Response]]


@asynccontextmanager
async def served(host: str, port: int, routes: list[Route]) -> AsyncIterator[None]:
    """Serve on one of loopback's addresses."""
    listener = bind(host, port, option="--port")
    server = Server(Starlette(routes=routes))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await eventually(lambda: server.started)
        yield
    finally:
        server.stop()
        await task


@asynccontextmanager
async def many(
    monkeypatch: pytest.MonkeyPatch, port: int, **routes: list[Route]
) -> AsyncIterator[Settings]:
    """Let token services run behind one name, at addresses of loopback that end with these."""
    hosts = [f"127.0.0.{name.removeprefix('at')}" for name in routes]

    async def resolve(name: str, *_: object, **__: object) -> list[Any]:
        if name == "token.test":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in hosts]
        raise socket.gaierror

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
    async with AsyncExitStack() as stack:
        for host, told in zip(hosts, routes.values(), strict=True):
            if told:
                await stack.enter_async_context(served(host, port, told))
        yield Settings(
            registry=Registry(internal_url="http://registry.test:8001"),
            token=Token(internal_url=f"http://token.test:{port}"),
            notifier=Notifier(internal_url="http://notifier.test:8003"),
        )


def troubles(answers: Answers) -> dict[str, str | None]:
    """Return why each was not reached, by its address."""
    status: Status = find(answers, NOON)
    return {one.address: one.trouble for one in status.services}


async def test_every_replica_behind_a_name_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is broken is told by its address: of three, two may hide it."""
    port = free_port()
    good = health_routes("token", {})
    async with many(monkeypatch, port, at1=good, at2=[], at3=good) as settings:
        answers = await inquire(settings)

    assert troubles(answers) == {
        "registry.test": "registry.test has no address: it does not run, or not under this name",
        f"127.0.0.1:{port}": None,
        f"127.0.0.2:{port}": "cannot be reached: it does not run, or not at this address",
        f"127.0.0.3:{port}": None,
        "notifier.test": "notifier.test has no address: it does not run, or not under this name",
    }
    assert find(answers, NOON).state == "down"


async def test_one_that_hangs_or_is_something_else_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is asked when things are as they should not be."""
    monkeypatch.setattr(inquiry, "ANSWER_SECONDS", 0.5)

    async def hang(_request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    def saying(content: str) -> list[Route]:
        async def say(_request: Request) -> Response:
            return Response(content)

        return [Route("/readyz", say), Route("/metrics", say)]

    port = free_port()
    async with many(
        monkeypatch,
        port,
        at1=[Route("/readyz", hang), Route("/metrics", hang)],
        at2=saying("<html>"),
        at3=saying("[1]"),
        at4=saying('{"ready": true, "checks": 5}'),
        at5=health_routes("token", {}),
    ) as settings:
        found = troubles(await inquire(settings))

    assert found[f"127.0.0.1:{port}"] == "no answer within 0.5 s"
    for other in (2, 3, 4):
        assert found[f"127.0.0.{other}:{port}"] == "is not what it should be here"
    assert found[f"127.0.0.5:{port}"] is None


async def test_a_url_of_rabbitmq_that_is_none_is_told_in_the_services_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And what stands in the file instead is not shown: it may be the password alone."""
    file = tmp_path / "url"
    async with many(monkeypatch, free_port()) as given:
        settings = given.model_copy(update={"bus": Bus(url_file=file)})
        assert f"{file}: cannot be read (No such file" in ((await inquire(settings)).broker or "")

        file.write_text("hunter2")
        answers = await inquire(settings)
    assert answers.broker_asked
    assert f"secret file {file}: give a URL such as amqp://host/" == answers.broker
