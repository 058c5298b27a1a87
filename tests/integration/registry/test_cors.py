"""Cross-origin requests to a running registry, as a browser sends them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest

from services.registry.app import create_app
from shared.sections import Cors
from tests.integration.registry.api import Api
from tests.integration.token.house import serving

PAGE = "https://app.example.com"


@asynccontextmanager
async def registry(api: Api, cors: Cors) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the registry with other settings, for real."""
    changed = api.settings.registry.model_copy(update={"cors": cors})
    app = create_app(api.settings.model_copy(update={"registry": changed}))
    async with (
        serving(app) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        yield http


def preflight(origin: str = PAGE, method: str = "POST", *headers: str) -> dict[str, str]:
    """Return the headers of a preflight request."""
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": ", ".join(headers or ["authorization"]),
    }


async def test_a_page_of_an_allowed_origin_may_call_and_see_our_headers(api: Api) -> None:
    """With all that the API reads of a request, and what was configured besides."""
    cors = Cors(allow_origins=(PAGE,), allow_headers=("X-Trace",), max_age=timedelta(minutes=5))
    sent = ("authorization", "content-type", "if-match", "idempotency-key", "x-trace")
    async with registry(api, cors) as http:
        asked = await http.options("/api/applications", headers=preflight(PAGE, "POST", *sent))
        answer = await http.get(
            "/api/applications",
            headers={"Origin": PAGE, "Authorization": api.http.headers["authorization"]},
        )
        refused = await http.get("/api/applications", headers={"Origin": PAGE})

    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == PAGE
    assert asked.headers["access-control-max-age"] == "300"
    assert "access-control-allow-credentials" not in asked.headers
    assert (answer.status_code, refused.status_code) == (200, 401)
    for one in (answer, refused):
        assert one.headers["access-control-allow-origin"] == PAGE
        assert "Origin" in one.headers["vary"]
        exposed = one.headers["access-control-expose-headers"]
        for name in ("ETag", "Location", "RateLimit", "Retry-After", "Idempotency-Replayed"):
            assert name in exposed.split(", ")


@pytest.mark.parametrize(
    "asked",
    [
        preflight("https://evil.example.com"),
        preflight("null"),
        preflight(PAGE + ":8443"),
        preflight(PAGE, "TRACE"),
        preflight(PAGE, "POST", "x-other"),
    ],
)
async def test_what_is_not_allowed_is_refused(api: Api, asked: dict[str, str]) -> None:
    """By origin, method and header."""
    async with registry(api, Cors(allow_origins=(PAGE,))) as http:
        answer = await http.options("/api/applications", headers=asked)

    assert answer.status_code == 400
    if asked["Origin"] != PAGE:
        assert "access-control-allow-origin" not in answer.headers


async def test_the_services_addresses_stay_closed(api: Api) -> None:
    """A page has no business at `/internal/…`; the documents are for everybody."""
    async with registry(api, Cors(allow_origins=("*",))) as http:
        allowed = {
            path: (await http.get(path, headers={"Origin": PAGE})).headers.get(
                "access-control-allow-origin"
            )
            for path in (
                "/openapi.json",
                "/asyncapi.json",
                "/schemas/oauthapps.ApplicationCreated.v1.json",
                "/api/applications",
                "/internal/feed",
                "/metrics",
                "/readyz",
            )
        }

    assert list(allowed.values()) == ["*"] * 4 + [None] * 3


async def test_by_default_no_page_may_call(api: Api) -> None:
    """And nothing is added to any answer."""
    asked = await api.http.options("/api/applications", headers=preflight())
    answer = await api.http.get("/api/applications", headers={"Origin": PAGE})

    assert asked.status_code == 405
    assert not [one for one in answer.headers if one.startswith("access-control")]
    assert "vary" not in answer.headers
