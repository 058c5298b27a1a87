"""What every answer tells a browser."""

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.token.client_request import ClientRequest
from services.token.endpoint import Endpoint
from services.token.parameters import Parameters
from shared.config import Settings
from shared.sections import Token
from shared.secure_headers import Service, added, headers_at
from shared.web import PROBLEM_HANDLERS

PLAIN, SECURE = "http://localhost:8001", "https://registry.example"


async def fail(_request: Request) -> Response:
    """Do what no handler should."""
    raise RuntimeError


async def keep(_request: Request) -> Response:
    """Say otherwise."""
    return Response("x", headers={"Cache-Control": "public", "Referrer-Policy": "same-origin"})


async def get(path: str) -> httpx.Response:
    """Ask a service that is reached over TLS."""
    routes = [Route("/fail", fail), Route("/keep", keep)]
    service = Service(SECURE, routes=routes, exception_handlers=PROBLEM_HANDLERS)
    transport = httpx.ASGITransport(service, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=SECURE) as http:
        return await http.get(path)


@pytest.mark.parametrize(("path", "status"), [("/fail", 500), ("/nothing", 404)])
async def test_answers_about_errors_have_the_headers_too(path: str, status: int) -> None:
    """They hold what somebody else may have put into the address."""
    answer = await get(path)

    assert status == answer.status_code
    for name, value in headers_at(SECURE):
        assert answer.headers[name.decode()] == value.decode()


async def test_an_answer_may_say_otherwise() -> None:
    """A file that never changes may be kept, and a page has a policy of its own."""
    answer = await get("/keep")

    assert answer.headers.get_list("cache-control") == ["public"]
    assert answer.headers.get_list("referrer-policy") == ["same-origin"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_only_what_is_reached_over_tls_says_that_it_stays_so() -> None:
    """A browser would not come back to an address without TLS for a year."""
    assert b"strict-transport-security" not in dict(headers_at(PLAIN))
    assert dict(headers_at(SECURE))[b"strict-transport-security"] == (
        b"max-age=31536000; includeSubDomains"
    )


def test_names_are_compared_as_http_does() -> None:
    """Whoever writes `Cache-Control` means the same."""
    assert added([(b"Cache-Control", b"public")], headers_at(PLAIN)).count(
        (b"cache-control", b"no-store")
    ) == 0  # fmt: skip


class Generous:
    """Gives everybody everything."""

    async def __call__(
        self,
        request: ClientRequest,
        parameters: Parameters,
    ) -> dict[str, str]:
        return {}


async def test_the_token_endpoint_has_them_although_it_goes_a_shorter_way() -> None:
    """It answers without what other addresses pass through."""
    endpoint = Endpoint("token", Settings(token=Token(issuer=SECURE)), Generous())
    for content_type in (b"application/x-www-form-urlencoded", b"text/html"):
        _, headers, _ = await endpoint.answer("/", [(b"content-type", content_type)], "", b"a=b")
        assert set(headers_at(SECURE)) <= set(headers)
