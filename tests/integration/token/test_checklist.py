"""What an authorization server must do, on a socket: each request of `tests/conformance`, and more.

One service for all of it; the requests are bytes, so nothing on our side tidies them up.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio

from services.token.app import create_app
from services.token.keys import Algorithm, load
from shared.credentials import new_client_id, new_client_secret
from tests.conformance.cases import CASES, about
from tests.conformance.place import GRANT, Answer, Place, encoded, exchange, message
from tests.conformance.servers import ours, prepare
from tests.integration.token.house import House, serving
from tests.integration.token.test_assertions import Client
from tests.support.eventually import eventually
from tests.support.readiness import is_ready
from tests.unit.token.factories import Application

pytestmark = pytest.mark.asyncio(loop_scope="module")

# RFC 6749, section 5.2: %x20-21 / %x23-5B / %x5D-7E.
ALLOWED = {chr(code) for code in range(0x20, 0x7F)} - {'"', "\\"}
CANARY = "cAnArY"


@dataclass
class Desk:
    """The service, and the house that it is in."""

    house: House
    place: Place

    async def send(self, request: bytes) -> Answer:
        """Send a request."""
        return await exchange(self.place, request)

    async def knows(self, application: Application) -> None:
        """Wait until the client's first token."""
        request = self.place.with_pair(f"{application.client_id}:{application.secret}")

        async def is_known() -> bool:
            return (await self.send(request)).status == 200

        await eventually(is_known)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """Serve the token service, with tokens that were issued before."""
    house = House(tmp_path_factory.mktemp("checklist"))
    # Each failed authentication looks at the registry, however many there are.
    async with ours(house, catch_ups_per_second=10_000.0) as place:
        await prepare(place)
        yield Desk(house, place)


def assert_is_an_error(answer: Answer) -> None:
    """Hold an error against RFC 6749, section 5.2."""
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    assert ("www-authenticate" in answer.headers) == (answer.status == 401)
    if not answer.body:
        return
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.members) == {"error", "error_description"}
    assert set(answer.members["error"] + answer.members["error_description"]) <= ALLOWED


async def test_each_request_gets_its_answer(desk: Desk) -> None:
    """In their order: one revokes a token, the next one looks at it."""
    found = {}
    for case in CASES:
        answer = await desk.send(case.make(desk.place))
        found[case.does] = str(answer)
        if answer.status >= 400:
            assert_is_an_error(answer)

    assert len(found) == len(CASES)
    assert found == {case.does: case.ours for case in CASES}


async def test_whatever_is_wrong_with_a_client_is_one_answer_and_one_look(desk: Desk) -> None:
    """Unknown, wrong, deactivated, deleted, expired: same bytes, and the same work behind them."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    deactivated, deleted, expired, rotated = (Application() for _ in range(4))
    await desk.house.registry.tell(
        deactivated.created(active=False),
        deleted.created(),
        deleted.deleted(),
        expired.created(expires_at=yesterday),
        rotated.created(),
        rotated.rotated(new_client_secret(), others_expire_at=yesterday),
    )
    last = Application()
    await desk.house.registry.tell(last.created())
    await desk.knows(last)
    pairs = [
        f"{new_client_id()}:{new_client_secret()}",
        f"{last.client_id}:{new_client_secret()}",
        *(f"{one.client_id}:{one.secret}" for one in (deactivated, deleted, expired, rotated)),
    ]
    answers, looks = [], []
    for pair in pairs:
        before = desk.house.registry.asked.get("head", 0)
        answers.append(await desk.send(desk.place.with_pair(pair)))
        looks.append(desk.house.registry.asked["head"] - before)

    assert {one.status for one in answers} == {401}
    assert len({one.body for one in answers}) == 1
    own = {"date": "", "x-request-id": ""}
    first, *others = [{**one.headers, **own} for one in answers]
    assert all(one == first for one in others)
    assert looks == [1] * len(pairs)


async def test_nothing_of_a_request_comes_back(desk: Desk) -> None:
    """Neither in the body nor in a header."""
    place = desk.place
    named = dict.fromkeys(("scope", "resource", "token_type_hint", CANARY), CANARY)
    for request in (
        place.by_basic({**GRANT, **named}),
        place.by_basic({"grant_type": CANARY}),
        place.ask({**GRANT, "client_id": CANARY, "client_secret": CANARY}),
        place.with_pair(f"{CANARY}:{CANARY}"),
        place.by_basic(headers=[f"DPoP: {CANARY}"]),
        place.ask(b"", content_type=CANARY),
        place.ask(b"", query=f"?{CANARY}=1", headers=[f"Authorization: {CANARY}"]),
        place.ask(json.dumps({CANARY: [CANARY]}).encode(), content_type="application/json"),
        place.by_basic({"token": CANARY}, to="introspect"),
        place.by_basic({"token": CANARY}, to="revoke"),
    ):
        answer = await desk.send(request)
        assert CANARY not in f"{answer.headers} {answer.body!r}"


async def test_what_stands_beside_the_endpoints_is_not_kept_by_caches_either(desk: Desk) -> None:
    """404 and 405 could be kept by a cache without being told so (RFC 9110, section 15.1)."""
    place = desk.place
    for method, path in (
        ("POST", "/token/"),
        ("GET", "/nothing"),
        ("POST", "/.well-known/jwks.json"),
    ):
        elsewhere = replace(place, paths={"token": path})
        answer = await desk.send(elsewhere.ask(place.by_post(), method=method))
        assert answer.status in (404, 405)
        assert answer.headers["cache-control"] == "no-store"


async def test_a_head_gets_the_head_alone(desk: Desk) -> None:
    """Bytes after it would be taken for the next answer (RFC 9110, section 9.3.2)."""
    answer = await desk.send(desk.place.ask(method="HEAD"))

    assert answer.body == b""
    assert int(answer.headers["content-length"]) > 0


async def test_an_access_token_is_one_of_the_rfc(desk: Desk) -> None:
    """RFC 9068, section 2: header and claims, and what the answer says of them."""
    answer = (await desk.send(desk.place.by_basic())).members
    header = jwt.get_unverified_header(answer["access_token"])
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})

    assert {"alg": "ES256", "typ": "at+jwt"}.items() <= header.items()
    assert set(header) == {"alg", "typ", "kid"}
    assert set(claims) == {
        *("iss", "sub", "aud", "client_id", "iat", "exp", "jti", "scope", "org", "owner")
    }
    assert claims["sub"] == claims["client_id"] == desk.place.basic.id
    assert claims["iss"] == desk.place.issuer
    assert claims["exp"] - claims["iat"] == answer["expires_in"]
    assert isinstance(answer["expires_in"], int)
    assert claims["scope"] == answer["scope"] == "applications:read events:read"


async def test_our_own_signature_makes_no_token_by_itself(desk: Desk) -> None:
    """Of another issuer, for another API, of another kind, without an end: all inactive."""
    var = desk.house.var
    key = load(var / "oauth_private.key", var / "oauth_public.key")
    good = jwt.decode(
        (await desk.send(desk.place.by_basic())).members["access_token"],
        options={"verify_signature": False},
    )

    def made(changes: dict[str, Any], typ: str = "at+jwt") -> str:
        header = {"alg": key.algorithm, "typ": typ, "kid": key.kid}
        claims = {name: value for name, value in {**good, **changes}.items() if value is not None}
        signs = message(header, claims)
        return f"{signs}.{encoded(key.sign(signs.encode()))}"

    assert str(await desk.send(about(desk.place, made({})))) == "200 active"
    wrong: list[dict[str, Any]] = [
        {"iss": "https://elsewhere.example"},
        {"iss": f"{desk.place.issuer}/"},
        {"aud": "https://elsewhere.example"},
        {"exp": 1},
        *({one: None} for one in ("iss", "aud", "exp", "iat", "sub", "client_id", "jti")),
    ]
    for one in (made({}, "JWT"), *map(made, wrong)):
        answer = await desk.send(about(desk.place, one))
        assert (answer.status, answer.body) == (200, b'{"active":false}')


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
async def test_tokens_can_be_signed_in_other_ways(tmp_path: Path, algorithm: Algorithm) -> None:
    """RFC 9068, section 4: RS256 is what every resource server knows. Metadata say which it is."""
    house = House(tmp_path)
    house.make_keys(algorithm)
    await house.registry.tell(house.application.created())
    async with house.registry.serving(), house.token_service() as http:
        await eventually(lambda: is_ready(http))
        token = (await http.post("/token", data=house.request())).json()["access_token"]
        keys = jwt.PyJWKSet.from_dict((await http.get("/.well-known/jwks.json")).json())
        metadata = (await http.get("/.well-known/oauth-authorization-server")).json()

    assert metadata["access_token_signing_alg_values_supported"] == [algorithm]
    key = keys[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key, algorithms=[algorithm], audience="https://api.example")


@pytest.mark.parametrize(
    ("issuer", "path"),
    [
        ("https://ID.example:443", ""),
        ("https://id.example/", ""),
        ("https://id.example/tenant/one", "/tenant/one"),
        ("https://id.example/tenant/", "/tenant"),
    ],
)
async def test_an_issuer_is_the_same_everywhere(tmp_path: Path, issuer: str, path: str) -> None:
    """RFC 8414, sections 3.1 and 3.3: byte for byte, and the well-known segment before its path."""
    house = House(tmp_path)
    house.make_keys()
    client = Client(house)
    await house.registry.tell(client.created())
    settings = house.settings()
    changed = settings.model_copy(
        update={"token": settings.token.model_copy(update={"issuer": issuer})}
    )
    async with (
        house.registry.serving(),
        serving(create_app(changed)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        await eventually(lambda: is_ready(http))
        answer = await http.get(f"/.well-known/oauth-authorization-server{path}")
        form = client.form(client.assertion(aud=issuer))
        token = (await http.post("/token", data=form)).json()["access_token"]
        other = client.form(client.assertion(aud=issuer.swapcase()))
        refused = await http.post("/token", data=other)
        elsewhere = await http.get(f"{path}/.well-known/oauth-authorization-server")

    metadata = answer.json()
    assert metadata["issuer"] == issuer
    assert jwt.decode(token, options={"verify_signature": False})["iss"] == issuer
    assert metadata["token_endpoint"] == f"{issuer.rstrip('/')}/oauth2-token"
    assert all(value != [] for value in metadata.values())
    assert refused.status_code == 401
    assert (elsewhere.status_code == 404) == bool(path)
