"""An API of somebody else's behind `ResourceServer`: who gets in, and who does not any more."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared import resource_server
from shared.config import Settings
from shared.dpop import hash_of
from shared.jwk import thumbprint
from shared.resource_server import BearerVerifier, Possession, ResourceServer
from shared.sections import Subscription
from shared.subscription import Subscription as Following
from shared.tasks import end
from shared.withdrawals import Withdrawals
from tests.integration.registry.api import Issuer
from tests.integration.shared.told_feed import ToldFeed
from tests.integration.token.house import serving
from tests.support.eventually import eventually
from tests.unit.token.factories import Application

API = "https://orders.example"
LIFETIME = timedelta(hours=1)


@dataclass
class Desk:
    """An issuer, an API that trusts it, and a log beside them."""

    issuer: Issuer
    feed: ToldFeed
    withdrawals: Withdrawals
    http: httpx.AsyncClient
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    async def status(self, token: str, path: str = "/orders", **headers: str) -> int:
        given = {"Authorization": f"Bearer {token}", **headers}
        return (await self.http.get(path, headers=given)).status_code

    async def becomes(self, token: str, status: int) -> None:
        """Wait until the API answers so."""

        async def is_so() -> bool:
            return await self.status(token) == status

        await eventually(is_so)

    @property
    def thumbprint(self) -> str:
        return thumbprint(self.jwk)

    @property
    def jwk(self) -> dict[str, Any]:
        jwk: Any = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return dict(jwk)

    def proof(self, token: str, **claims: Any) -> str:
        everything = {
            "jti": uuid.uuid4().hex,
            "htm": "GET",
            "htu": f"{API}/orders",
            "iat": int(time.time()),
            "ath": hash_of(token),
            **claims,
        }
        headers = {"typ": "dpop+jwt", "jwk": self.jwk}
        return jwt.encode(everything, self.key, algorithm="ES256", headers=headers)


async def orders(request: Request) -> Response:
    """Say who asks."""
    token = request.state.access_token
    return JSONResponse({"client_id": token.client_id, "scopes": sorted(token.scopes)})


def scope_of(method: str, path: str) -> str | None:
    """Return what a request needs."""
    return "orders:write" if method == "POST" else "orders:read" if path == "/orders" else None


@pytest.fixture
def policy() -> dict[str, Any]:
    """Return how the API is to treat silence."""
    return {"max_staleness": timedelta(minutes=5), "when_stale": "refuse"}


@pytest_asyncio.fixture
async def desk(monkeypatch: pytest.MonkeyPatch, policy: dict[str, Any]) -> AsyncIterator[Desk]:
    """Serve all of it."""
    monkeypatch.setattr(resource_server, "RETRY_SECONDS", 0.0)
    settings = Settings(var=Path("unused"))
    issuer, feed = Issuer(settings), ToldFeed()
    withdrawals = Withdrawals(feed, lifetime=LIFETIME, **policy)
    routes = [
        Route("/orders", orders, methods=["GET", "POST"]),
        Route("/whoami", orders),
        Route("/health", lambda _: Response("well")),
    ]
    async with serving(issuer.app) as url:
        verifier = BearerVerifier(
            f"{url}/.well-known/jwks.json", issuer=settings.issuer, audience=settings.audience
        )
        api = ResourceServer(
            Starlette(routes=routes),
            verifier=verifier,
            possession=Possession(API),
            scope_of=scope_of,
            withdrawals=withdrawals,
            public=["/health"],
        )
        following = asyncio.create_task(
            Following(withdrawals, feed, Subscription(long_poll=timedelta(milliseconds=200))).run()
        )
        transport = httpx.ASGITransport(app=api)
        async with httpx.AsyncClient(transport=transport, base_url=API) as http:
            await eventually(lambda: withdrawals.staleness < 60)
            yield Desk(issuer, feed, withdrawals, http)
        await end(following)
        await verifier.aclose()


async def test_a_good_token_gets_in_and_the_api_knows_whose_it_is(desk: Desk) -> None:
    """With the scope that the request needs, if it needs one."""
    token = desk.issuer.token("c" * 32, ["orders:read"])
    answer = await desk.http.get("/orders", headers={"Authorization": f"Bearer {token}"})

    assert answer.json() == {"client_id": "c" * 32, "scopes": ["orders:read"]}
    assert await desk.status(desk.issuer.token("c" * 32, []), "/whoami") == 200
    assert (await desk.http.get("/health")).text == "well"


async def test_others_are_told_what_they_lack(desk: Desk) -> None:
    """RFC 6750, section 3.1: no code without a token, then invalid_token, insufficient_scope."""
    without = await desk.http.get("/orders")
    assert without.status_code == 401
    assert "error" not in without.headers["www-authenticate"]
    bad = await desk.http.get("/orders", headers={"Authorization": "Bearer x.y.z"})
    assert bad.status_code == 401
    assert 'error="invalid_token"' in bad.headers["www-authenticate"]
    token = desk.issuer.token("c" * 32, ["orders:read"])
    little = await desk.http.post("/orders", headers={"Authorization": f"Bearer {token}"})
    assert little.status_code == 403
    assert 'scope="orders:write"' in little.headers["www-authenticate"]
    assert little.headers["content-type"] == "application/problem+json"


ENDS: dict[str, Callable[[Application], Any]] = {
    "deactivated": Application.deactivated,
    "deleted": Application.deleted,
    "revoked": lambda one: one.tokens_revoked(datetime.now(UTC) + timedelta(seconds=1)),
}


@pytest.mark.parametrize("how", ENDS)
async def test_a_token_dies_with_its_client(desk: Desk, how: str) -> None:
    """Others are not concerned."""
    one, other = Application(), Application()
    token = desk.issuer.token(one.client_id, ["orders:read"])
    others = desk.issuer.token(other.client_id, ["orders:read"])
    assert await desk.status(token) == 200
    desk.feed.tell(ENDS[how](one))

    await desk.becomes(token, 401)
    assert await desk.status(others) == 200


async def test_a_client_that_is_active_again_gets_in(desk: Desk) -> None:
    """With the token it had."""
    one = Application()
    token = desk.issuer.token(one.client_id, ["orders:read"])
    desk.feed.tell(one.deactivated())
    await desk.becomes(token, 401)
    desk.feed.tell(one.activated())
    await desk.becomes(token, 200)


async def test_a_single_token_can_be_revoked(desk: Desk) -> None:
    """By its jti."""
    one = Application()
    first = desk.issuer.token(one.client_id, ["orders:read"], jti="first")
    second = desk.issuer.token(one.client_id, ["orders:read"], jti="second")
    now = datetime.now(UTC)
    desk.feed.tell(
        one.tokens_revoked(
            datetime(1970, 1, 1, tzinfo=UTC),
            jti="first",
            revoked_at=now,
            token_expires_at=now + LIFETIME,
        )
    )
    await desk.becomes(first, 401)
    assert await desk.status(second) == 200


async def test_a_bound_token_needs_its_proof(desk: Desk) -> None:
    """RFC 9449, section 7: by its key, for this request and this token, once."""
    token = desk.issuer.token("c" * 32, ["orders:read"], cnf={"jkt": desk.thumbprint})
    good = {"Authorization": f"DPoP {token}"}
    proof = desk.proof(token)
    assert await desk.status(token, **good, DPoP=proof) == 200
    assert await desk.status(token, **good, DPoP=proof) == 401
    assert await desk.status(token, **good) == 401
    assert await desk.status(token, DPoP=desk.proof(token)) == 401, "as a bearer token"
    for wrong in ({"htm": "POST"}, {"htu": f"{API}/bills"}, {"ath": "x"}, {"iat": 1}):
        assert await desk.status(token, **good, DPoP=desk.proof(token, **wrong)) == 401
    stolen = desk.issuer.token("c" * 32, ["orders:read"], cnf={"jkt": "another"})
    headers = {"Authorization": f"DPoP {stolen}", "DPoP": desk.proof(stolen)}
    assert await desk.status(stolen, **headers) == 401
    unknown = desk.issuer.token("c" * 32, ["orders:read"], cnf={"x5t#S256": "x"})
    assert await desk.status(unknown) == 401


async def test_an_end_that_was_brought_forward_ends_the_tokens_of_before(desk: Desk) -> None:
    """Their own `exp` is that of the end they were issued under; as introspection has it."""
    one, other, now = Application(), Application(), datetime.now(UTC)
    token = desk.issuer.token(one.client_id, ["orders:read"])
    others = desk.issuer.token(other.client_id, ["orders:read"])
    assert await desk.status(token) == 200
    desk.feed.tell(one.updated(changed=("expires_at", "name"), expires_at=now))
    await desk.becomes(token, 401)
    # Of all that an event repeats, only what changed counts.
    desk.feed.tell(one.updated(changed=("name",)))
    desk.feed.tell(other.deactivated())
    await desk.becomes(others, 401)
    assert await desk.status(token) == 401
    desk.feed.tell(one.updated(changed=("expires_at",), expires_at=now + 2 * LIFETIME))
    await desk.becomes(token, 200)
    desk.feed.tell(one.updated(changed=("expires_at",), expires_at=now))
    await desk.becomes(token, 401)
    desk.feed.tell(one.updated(changed=("expires_at",), expires_at=None))
    await desk.becomes(token, 200)


async def test_an_end_that_was_brought_forward_comes_by_itself(desk: Desk) -> None:
    """No event says so when it is there."""
    one = Application()
    token = desk.issuer.token(one.client_id, ["orders:read"])
    soon = datetime.now(UTC) + timedelta(seconds=1)
    desk.feed.tell(one.updated(changed=("expires_at",), expires_at=soon))
    await eventually(lambda: len(desk.withdrawals) == 1)
    await desk.becomes(token, 401)

    assert datetime.now(UTC) >= soon


async def test_a_registry_that_was_restored_is_followed(desk: Desk) -> None:
    """What its history does not know is good again, as it is for the token service."""
    one, other = Application(), Application()
    token = desk.issuer.token(one.client_id, ["orders:read"])
    others = desk.issuer.token(other.client_id, ["orders:read"])
    desk.feed.tell(one.deactivated())
    await desk.becomes(token, 401)
    desk.feed.restore()
    desk.feed.tell(other.deactivated())

    await desk.becomes(others, 401)
    assert await desk.status(token) == 200


@pytest.mark.parametrize("policy", [{"max_staleness": timedelta(), "when_stale": "refuse"}])
async def test_without_news_it_fails_closed(desk: Desk) -> None:
    """503: nobody can say whether the token is still good."""
    desk.feed.lost = True
    token = desk.issuer.token("c" * 32, ["orders:read"])
    answer = await desk.http.get("/orders", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize("policy", [{"max_staleness": timedelta(), "when_stale": "accept"}])
async def test_or_goes_by_the_signature_where_that_was_chosen(desk: Desk) -> None:
    """What is known still counts."""
    one = Application()
    desk.feed.tell(one.deactivated())
    token = desk.issuer.token(one.client_id, ["orders:read"])
    await desk.becomes(token, 401)
    desk.feed.lost = True
    assert await desk.status(desk.issuer.token("c" * 32, ["orders:read"])) == 200
    assert await desk.status(token) == 401
