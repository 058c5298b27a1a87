"""Cross-origin requests to the token service, as a browser sends them."""

from shared.cors import for_origins
from shared.sections import Cors
from tests.integration.token.house import House

PAGE = "https://app.example.com"


async def test_a_page_of_an_allowed_origin_may_ask_for_tokens_and_keys(house: House) -> None:
    """At the token endpoint, which goes past the middleware, and at what describes it."""
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    async with house.ready(cors=Cors(allow_origins=(PAGE,))) as http:
        preflight = await http.options("/oauth2-token", headers=asked)
        answers = [
            await http.post("/oauth2-token", data=house.request(), headers={"Origin": PAGE}),
            await http.post("/token", data={"a": "b"}, headers={"Origin": PAGE}),
            await http.get("/.well-known/jwks.json", headers={"Origin": PAGE}),
        ]
        another = await http.post(
            "/token", data=house.request(), headers={"Origin": "https://evil.example.com"}
        )
        health = await http.get("/livez", headers={"Origin": PAGE})

    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, PAGE)
    assert preflight.headers["access-control-max-age"] == "600"
    assert [one.status_code for one in answers] == [200, 400, 200]
    assert {one.headers["access-control-allow-origin"] for one in answers} == {PAGE}
    assert another.status_code == 200
    assert "access-control-allow-origin" not in another.headers
    assert "access-control-allow-origin" not in health.headers


async def test_without_origins_nothing_lies_before_the_endpoint(house: House) -> None:
    """Every microsecond there is paid for each token."""

    async def endpoint(*_: object) -> None:
        return

    assert for_origins(endpoint, Cors(), methods=("POST",)) is endpoint
    async with house.ready() as http:
        answer = await http.post(
            "/token", data=house.request(), headers={"Origin": "https://app.example.com"}
        )
        preflight = await http.options("/token", headers={"Origin": "https://app.example.com"})

    assert answer.status_code == 200
    assert "vary" not in answer.headers
    assert preflight.status_code == 405
