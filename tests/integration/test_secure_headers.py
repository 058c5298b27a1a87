"""Each kind of answer of the three services, as it leaves the server."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from shared.secure_headers import headers_at
from tests.integration.notifier.test_app import served
from tests.integration.registry.api import api_of
from tests.integration.registry.house import house_in
from tests.integration.token.house import House
from tests.support.ports import free_port
from tests.support.postgres import Databases

SECURE = "https://registry.example"


def check(answer: httpx.Response, public_url: str) -> None:
    """Hold an answer against the headers; of two it may say otherwise, of none nothing."""
    for name, value in headers_at(public_url):
        found = answer.headers.get_list(name.decode())
        assert len(found) == 1, (answer.request.url, name, found)
        if name in (b"x-content-type-options", b"strict-transport-security"):
            assert found == [value.decode()]
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy


async def test_the_registry(databases: Databases, tmp_path: Path) -> None:
    """Pages, API, health, and what is refused."""
    async with (
        house_in(databases) as house,
        api_of(house, tmp_path, public_url=SECURE) as api,
    ):
        for method, path, status in (
            ("GET", "/livez", 200),
            ("GET", "/metrics", 200),
            ("GET", "/openapi.json", 200),
            ("GET", "/api/applications", 200),
            ("GET", "/api/applications/x", 404),
            ("POST", "/api/applications", 415),
            ("GET", "/internal/feed", 401),
            ("GET", "/nothing", 404),
            ("TRACE", "/livez", 405),
            ("GET", "/login", 200),
            ("GET", "/my-user", 303),
        ):
            answer = await api.http.request(method, path)
            assert status == answer.status_code, path
            check(answer, SECURE)


async def in_parts() -> AsyncIterator[bytes]:
    """Send a body that comes in parts: such a request goes another way."""
    yield b"grant_type="
    yield b"x"


async def test_the_token_service(tmp_path: Path) -> None:
    """Also where a request goes the short way."""
    house = House(tmp_path)
    async with house.ready() as http:
        answers = [
            await http.post("/oauth2-token", data=house.request()),
            await http.post("/oauth2-token", data=house.request(client_secret="x")),
            await http.post("/oauth2-token", content=in_parts()),
            await http.get("/oauth2-token"),
            await http.post("/introspect", data={"token": "x"}),
            await http.get("/.well-known/jwks.json"),
            await http.get("/readyz"),
            await http.get("/nothing"),
        ]

    assert [one.status_code for one in answers] == [200, 401, 415, 405, 401, 200, 200, 404]
    for answer in answers:
        check(answer, house.url)


async def test_the_notifier(tmp_path: Path) -> None:
    """Previews are of what somebody wrote: they may do even less."""
    async with served(tmp_path, f"postgresql://x@127.0.0.1:{free_port()}/x") as client:
        for path in ("/preview", "/preview/secret_rotated", "/api/notifications", "/livez"):
            check(await client.get(path), "http://localhost:8003")
