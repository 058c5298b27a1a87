"""What the HTTP edges have in common: bodies, problems, health, background jobs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared import health
from shared.health import NotReady
from shared.problem import PROBLEM_MEDIA_TYPE, FieldError, Problem
from shared.web import PROBLEM_HANDLERS, background, health_routes, json_response, read_body


async def call(
    endpoint: Callable[[Request], Awaitable[Response]], method: str = "POST", **given: Any
) -> httpx.Response:
    """Ask an application that has one address."""
    app = Starlette(
        routes=[Route("/", endpoint, methods=["POST"])], exception_handlers=PROBLEM_HANDLERS
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        return await http.request(method, given.pop("path", "/"), **given)


async def read(request: Request) -> Response:
    """Answer with the length of the body."""
    return json_response(len(await read_body(request, limit=10, seconds=0.1)))


async def chunks(*parts: bytes, then_wait: bool = False) -> AsyncIterator[bytes]:
    """Send a body in pieces."""
    for part in parts:
        yield part
    if then_wait:
        await asyncio.Event().wait()


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 10])
async def test_a_body_within_the_limit_is_read(content: bytes) -> None:
    """The limit itself included."""
    assert (await call(read, content=content)).json() == len(content)


async def test_a_body_past_the_limit_is_refused_declared_or_not() -> None:
    """And the connection is closed: what follows is not read."""
    for content in (b"x" * 11, chunks(b"x" * 6, b"x" * 6)):
        answer = await call(read, content=content)

        assert answer.status_code == 413
        assert answer.headers["content-type"] == PROBLEM_MEDIA_TYPE
        assert answer.headers["connection"] == "close"


async def test_a_declared_length_that_is_a_lie_helps_nobody() -> None:
    """The bytes are counted as they come."""
    answer = await call(read, content=chunks(b"x" * 11), headers={"content-length": "1"})

    assert answer.status_code == 413


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    """Otherwise a hundred of them are an outage."""
    answer = await call(read, content=chunks(b"x", then_wait=True))

    assert answer.status_code == 408


async def test_every_error_is_a_problem() -> None:
    """One form for programs, and no traceback for strangers."""

    async def refuse(_request: Request) -> Response:
        raise Problem(409, "No.", errors=[FieldError("Taken.", pointer="#/name")])

    async def teapot(_request: Request) -> Response:
        raise HTTPException(418, "I am a teapot", headers={"X-Pot": "tea"})

    async def broken(_request: Request) -> Response:
        raise RuntimeError("the secret is hunter2")

    answers = {
        409: await call(refuse),
        418: await call(teapot),
        500: await call(broken),
        405: await call(read, method="GET"),
        404: await call(read, path="/nothing"),
    }

    for status, answer in answers.items():
        assert status == answer.status_code == answer.json()["status"]
        assert answer.headers["content-type"] == PROBLEM_MEDIA_TYPE
    assert answers[409].json()["errors"] == [{"detail": "Taken.", "pointer": "#/name"}]
    assert answers[418].headers["x-pot"] == "tea"
    assert "hunter2" not in answers[500].text


async def test_what_cannot_tell_of_its_trouble_is_told_of() -> None:
    """One part that fails to speak must not silence the others, nor make anybody unready."""

    def broken() -> str | None:
        raise ValueError("hunter2")

    app = Starlette(routes=health_routes("token", {}, {"bus": broken, "disk": lambda: None}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        ready = await http.get("/readyz")

    checks = {"bus": "failed (ValueError)", "disk": "ok"}
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "checks": checks})


async def test_readiness_names_every_check_and_why_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """503 when one fails; one that hangs or breaks is one that fails."""
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.05)

    async def fine() -> None:
        return

    async def away() -> None:
        raise NotReady("Postgres does not answer")

    async def broken() -> None:
        raise ValueError("hunter2")

    async def hanging() -> None:
        await asyncio.Event().wait()

    async def ask(**checks: Any) -> httpx.Response:
        app = Starlette(routes=health_routes("registry", checks))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://x"
        ) as http:
            assert (await http.get("/livez")).json() == {"live": True}
            ready = await http.get("/readyz")
            told = (await http.get("/metrics")).text
            assert f'oauthapps_ready{{service="registry"}} {ready.json()["ready"]:d}.0' in told
            for name, said in ready.json()["checks"].items():
                passed = f'oauthapps_check_passed{{check="{name}",service="registry"}}'
                assert f"{passed} {said == 'ok':d}.0" in told
            return ready

    good = await ask(a=fine)
    bad = await ask(a=fine, b=away, c=broken, d=hanging)

    assert (good.status_code, good.json()) == (200, {"ready": True, "checks": {"a": "ok"}})
    assert bad.status_code == 503
    assert bad.json() == {
        "ready": False,
        "checks": {
            "a": "ok",
            "b": "Postgres does not answer",
            "c": "failed (ValueError)",
            "d": "no answer within 0.05 s",
        },
    }


async def test_background_jobs_end_with_the_block() -> None:
    """Cancelled and awaited, also when one died before."""
    ended: list[str] = []

    async def job() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("job")

    async def dying() -> None:
        raise ValueError("bug")

    async with background(job(), dying()):
        await asyncio.sleep(0)
        assert ended == []

    assert ended == ["job"]
