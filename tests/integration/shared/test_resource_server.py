"""Access tokens as a resource server judges them, against a served JWKS."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route

from shared import resource_server
from shared.config import Settings
from shared.resource_server import (
    BearerVerifier,
    KeysUnavailable,
    NoSigningKeys,
    Possession,
    ResourceServer,
    TokenRefused,
    presented_token,
)
from tests.integration.registry.api import Issuer
from tests.integration.token.house import serving
from tests.support.eventually import eventually

CLIENT = "c" * 32


@dataclass
class Desk:
    """An issuer that is served, and a verifier that trusts it."""

    issuer: Issuer
    verifier: BearerVerifier
    settings: Settings


@pytest_asyncio.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """Both, and keys are read again as often as wanted."""
    monkeypatch.setattr(resource_server, "RETRY_SECONDS", 0.0)
    settings = Settings(var=Path("unused"))
    issuer = Issuer(settings)
    async with serving(issuer.app) as url:
        verifier = BearerVerifier(
            f"{url}/.well-known/jwks.json", issuer=settings.issuer, audience=settings.audience
        )
        yield Desk(issuer, verifier, settings)
        await verifier.aclose()


async def test_a_token_of_ours_says_who_and_what(desk: Desk) -> None:
    """Everything a request is decided by."""
    token = await desk.verifier.verify(
        desk.issuer.token(CLIENT, ["a", "b"], org="o1", owner="u1", jti="j1")
    )

    assert (token.client_id, token.organization_id, token.owner_id) == (CLIENT, "o1", "u1")
    assert token.scopes == {"a", "b"}
    assert token.jti == "j1"
    assert abs(token.issued_at - time.time()) < 10


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"iat": 4_000_000_000},
        {"nbf": 4_000_000_000},
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"aud": "https://elsewhere.example"},
        {"aud": None},
        {"sub": None},
        {"client_id": None},
        {"client_id": 7},
        {"jti": None},
        {"scope": ["a"]},
        {"headers": {"typ": "JWT"}},
        {"headers": {"typ": None}},
        {"headers": {"kid": "other"}},
        {"headers": {"kid": None}},
        {"headers": {"kid": ["x"]}},
        {"headers": {"crit": ["exp"]}},
        {"key": ec.generate_private_key(ec.SECP256R1())},
        {"key": "k" * 64, "algorithm": "HS256"},
        {"key": "", "algorithm": "none"},
    ],
)
async def test_a_token_with_one_thing_wrong_is_refused(desk: Desk, claims: dict[str, Any]) -> None:
    """RFC 9068, section 4, one by one; among them the forgeries of the books."""
    try:
        token = desk.issuer.token(CLIENT, **claims)
    except (TypeError, jwt.PyJWTError):
        # The library will not even make it; so it is made by hand.
        token = _by_hand(desk.issuer.token(CLIENT), claims["headers"])

    with pytest.raises(TokenRefused):
        await desk.verifier.verify(token)


def _by_hand(token: str, headers: dict[str, Any]) -> str:
    import base64
    import json

    header = {**jwt.get_unverified_header(token), **headers}
    encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return ".".join((encoded, *token.split(".")[1:]))


@pytest.mark.parametrize("token", ["", "x", "a.b", "a.b.c", "é.é.é", "e30.e30.", "." * 5000])
async def test_junk_is_refused(desk: Desk, token: str) -> None:
    """And is never an error of ours."""
    with pytest.raises(TokenRefused):
        await desk.verifier.verify(token)


async def test_a_token_with_the_public_key_as_hmac_secret_is_refused(desk: Desk) -> None:
    """The oldest trick there is."""
    import base64
    import hashlib
    import hmac
    import json

    from cryptography.hazmat.primitives import serialization

    public = desk.issuer.keys[desk.issuer.kid].public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    payload = desk.issuer.token(CLIENT).split(".")[1]
    header = {"alg": "HS256", "typ": "at+jwt", "kid": desk.issuer.kid}
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    mac = hmac.new(pem, f"{head}.{payload}".encode(), hashlib.sha256).digest()
    signature = base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    with pytest.raises(TokenRefused, match="algorithm"):
        await desk.verifier.verify(f"{head}.{payload}.{signature}")


async def test_a_rotation_is_followed(desk: Desk) -> None:
    """Both keys are good, and the first token of the new one makes us look."""
    old = desk.issuer.token(CLIENT)
    await desk.verifier.verify(old)
    desk.issuer.rotate()

    await desk.verifier.verify(desk.issuer.token(CLIENT))
    await desk.verifier.verify(old)


async def test_keys_are_read_once_for_many_tokens(desk: Desk) -> None:
    """The token service is not asked for each request."""
    for _ in range(5):
        await desk.verifier.verify(desk.issuer.token(CLIENT))

    assert desk.issuer.asked == 1


async def test_unknown_kids_do_not_make_us_ask_all_the_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can make one up."""
    await desk.verifier.verify(desk.issuer.token(CLIENT))
    monkeypatch.setattr(resource_server, "RETRY_SECONDS", 60.0)
    for _ in range(5):
        with pytest.raises(TokenRefused, match="unknown kid"):
            await desk.verifier.verify(desk.issuer.token(CLIENT, headers={"kid": "made up"}))

    assert desk.issuer.asked == 1


async def test_an_outage_of_the_token_service_is_bridged(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that are old are better than none."""
    await desk.verifier.verify(desk.issuer.token(CLIENT))
    monkeypatch.setattr(resource_server, "KEYS_SECONDS", 0.0)
    desk.issuer.broken = True

    await desk.verifier.verify(desk.issuer.token(CLIENT))


async def test_a_key_that_nobody_can_be_asked_about_is_not_held_against_a_token(
    desk: Desk,
) -> None:
    """It may have been signed with the next key, just when the token service went away."""
    await desk.verifier.verify(desk.issuer.token(CLIENT))
    desk.issuer.rotate()
    desk.issuer.broken = True
    token = desk.issuer.token(CLIENT)
    with pytest.raises(KeysUnavailable):
        await desk.verifier.verify(token)

    desk.issuer.broken = False
    await desk.verifier.verify(token)


async def test_keys_are_asked_for_once_for_all_that_wait(desk: Desk) -> None:
    """A token service that hangs must not make them wait for each other, one timeout after another.

    Anybody can name a key that does not exist.
    """
    await desk.verifier.verify(desk.issuer.token(CLIENT))
    desk.issuer.answering.clear()
    forged = [desk.issuer.token(CLIENT, headers={"kid": f"made up {n}"}) for n in range(10)]
    waiting = [asyncio.create_task(desk.verifier.verify(one)) for one in forged]
    await eventually(lambda: desk.issuer.asked == 2)
    # Those whose key is known do not wait.
    await desk.verifier.verify(desk.issuer.token(CLIENT))
    desk.issuer.answering.set()
    refusals = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(one) for one in refusals] == [TokenRefused] * 10
    assert desk.issuer.asked == 2


async def test_a_rotation_refuses_no_good_token(desk: Desk) -> None:
    """Not those that were issued before, nor those under way while keys are read."""
    tokens = []
    for _ in range(3):
        tokens += [desk.issuer.token(CLIENT) for _ in range(5)]
        desk.issuer.rotate()
        tokens += [desk.issuer.token(CLIENT) for _ in range(5)]

        await asyncio.gather(*(desk.verifier.verify(one) for one in tokens))


async def test_keys_that_vanish_are_missed_soon(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody shall hunt for another cause while the sentence that names this one is held back."""
    await desk.verifier.verify(desk.issuer.token(CLIENT))
    monkeypatch.setattr(resource_server, "KEYS_SECONDS", 0.0)
    desk.issuer.keys.clear()

    async def are_missed() -> bool:
        try:
            await desk.verifier.require_keys()
        except NoSigningKeys:
            return True
        return False

    await eventually(are_missed)


async def test_a_token_service_that_hangs_holds_nobody_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that are known are read again beside the requests, not before them."""
    await desk.verifier.verify(desk.issuer.token(CLIENT))
    monkeypatch.setattr(resource_server, "KEYS_SECONDS", 0.0)
    desk.issuer.answering.clear()

    async with asyncio.timeout(5):
        for _ in range(3):
            await desk.verifier.verify(desk.issuer.token(CLIENT))
        await eventually(lambda: desk.issuer.asked == 2)


async def test_without_keys_it_says_which_kind_of_without(desk: Desk) -> None:
    """There are none, or they could not be read: the first is the administrator's."""
    desk.issuer.broken = True
    with pytest.raises(KeysUnavailable):
        await desk.verifier.require_keys()

    desk.issuer.broken = False
    keys = dict(desk.issuer.keys)
    desk.issuer.keys.clear()
    with pytest.raises(NoSigningKeys):
        await desk.verifier.require_keys()

    desk.issuer.keys.update(keys)
    await desk.verifier.require_keys()


def test_a_bearer_token_is_taken_from_its_header() -> None:
    """The scheme's name is not case-sensitive (RFC 9110, section 11.1)."""
    assert presented_token("bearer  abc ") == "abc"
    assert presented_token("DPoP abc") == "abc"


async def test_challenges_are_those_of_the_rfc_on_a_socket(desk: Desk) -> None:
    """RFC 6750, section 3: no code without a token, and none of the answers may be kept."""
    guarded = Middleware(
        ResourceServer,
        verifier=desk.verifier,
        possession=Possession("http://api.example"),
        scope_of=lambda _method, _path: "a",
    )
    app = Starlette(routes=[Route("/", lambda _: Response("in"))], middleware=[guarded])
    realm = 'Bearer realm="oauthapps"'
    expected = {
        "": (401, realm),
        "Basic eDp5": (401, realm),
        "Bearer": (401, realm),
        "Bearer x.y.z": (401, f'{realm}, error="invalid_token"'),
        f"Bearer {desk.issuer.token(CLIENT, ['a'], exp=1)}": (
            401,
            f'{realm}, error="invalid_token"',
        ),
        f"Bearer {desk.issuer.token(CLIENT, ['b'])}": (
            403,
            f'{realm}, error="insufficient_scope", scope="a"',
        ),
        f"bearer {desk.issuer.token(CLIENT, ['a'])}": (200, None),
    }
    async with serving(app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        for presented, answer in expected.items():
            found = await http.get("/", headers={"Authorization": presented} if presented else {})
            assert (found.status_code, found.headers.get("www-authenticate")) == answer
            if found.status_code != 200:
                assert found.headers["cache-control"] == "no-store"
        queried = await http.get("/", params={"access_token": desk.issuer.token(CLIENT, ["a"])})
        assert queried.status_code == 401
