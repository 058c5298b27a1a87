"""`private_key_jwt`: a client that has keys instead of sending its secret (RFC 7523)."""

import time
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from services.token.assertions import ASSERTION_TYPE
from shared.events import PublicKey
from tests.integration.token.house import House
from tests.integration.token.test_token_endpoint import assert_refused, basic
from tests.support.eventually import eventually
from tests.unit.token.factories import Application

KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def public(algorithm: str, kid: str | None = None) -> PublicKey:
    """Return the public half as an event has it."""
    signature = get_default_algorithms()[algorithm]
    jwk: Any = signature.to_jwk(KEYS[algorithm].public_key(), as_dict=True)
    members = {one: jwk[one] for one in ("kty", "n", "e", "crv", "x", "y") if one in jwk}
    return PublicKey(kid=kid or algorithm, alg=algorithm, **members)


class Client:
    """An application with a key of each kind."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.application = Application(scopes=("applications:read",))

    def created(self) -> Any:
        return self.application.created(keys=tuple(public(one) for one in KEYS))

    def assertion(
        self,
        algorithm: str = "ES256",
        *,
        key: Any = None,
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return an assertion; a claim that is None is left out."""
        now = int(time.time())
        everything = {
            "iss": self.application.client_id,
            "sub": self.application.client_id,
            "aud": self.house.url,
            "exp": now + 60,
            "iat": now,
            "jti": uuid.uuid4().hex,
            **claims,
        }
        given = {name: value for name, value in everything.items() if value is not None}
        named = {"kid": algorithm} if headers is None else headers
        signs = KEYS[algorithm] if key is None else key
        return jwt.encode(given, signs, algorithm=algorithm, headers=named)

    def form(self, assertion: str, **more: str) -> dict[str, str]:
        return {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
            **more,
        }


@pytest.fixture
async def client(house: House, http: httpx.AsyncClient) -> Client:
    """Return a client that the service knows."""
    client = Client(house)
    await house.registry.tell(client.created())

    async def is_known() -> bool:
        answer = await http.post(
            "/token",
            data={"grant_type": "client_credentials"},
            headers=basic(client.application.client_id, client.application.secret),
        )
        return answer.status_code == 200

    await eventually(is_known)
    return client


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("path", ["/oauth2-token", "/introspect", "/revoke"])
async def test_a_client_authenticates_by_its_key(
    client: Client, http: httpx.AsyncClient, algorithm: str, path: str
) -> None:
    """At every endpoint for clients, with and without a client_id beside it."""
    for more in ({}, {"client_id": client.application.client_id}):
        form = client.form(client.assertion(algorithm), token="x", **more)
        assert (await http.post(path, data=form)).status_code == 200


WRONG: list[dict[str, Any]] = [
    {"aud": "https://elsewhere.example"},
    {"aud": None},
    {"iss": "x" * 32},
    {"sub": None},
    {"exp": None},
    {"exp": 1},
    {"exp": 9_999_999_999},
    {"exp": "soon"},
    {"exp": True},
    {"nbf": 9_999_999_999},
    {"iat": 9_999_999_999},
    {"jti": None},
    {"jti": ""},
    {"jti": "x" * 300},
    {"jti": 7},
]


async def test_an_assertion_that_is_wrong_in_one_thing_is_refused(
    client: Client, http: httpx.AsyncClient
) -> None:
    """One answer for all of it."""
    for wrong in WRONG:
        answer = await http.post("/token", data=client.form(client.assertion(**wrong)))
        assert (answer.status_code, wrong) == (401, wrong)
        assert_refused(answer, 401, "invalid_client")


async def test_the_endpoint_beside_the_issuer_is_no_audience(
    client: Client, http: httpx.AsyncClient
) -> None:
    """Neither alone nor in company: another server might have asked for it."""
    house = client.house
    for audience in (f"{house.url}/oauth2-token", [house.url, "https://elsewhere.example"]):
        form = client.form(client.assertion(aud=audience))
        assert_refused(await http.post("/token", data=form), 401, "invalid_client")
    form = client.form(client.assertion(aud=[house.url]))
    assert (await http.post("/token", data=form)).status_code == 200


async def test_an_assertion_is_good_once(client: Client, http: httpx.AsyncClient) -> None:
    """At whichever endpoint; and the same jti of another client is another one."""
    assertion = client.assertion(jti="once")
    assert (await http.post("/token", data=client.form(assertion))).status_code == 200
    again = client.form(assertion, token="x")
    for path in ("/token", "/introspect"):
        assert_refused(await http.post(path, data=again), 401, "invalid_client")


async def test_no_other_signature_is_taken(client: Client, http: httpx.AsyncClient) -> None:
    """None, one by the public key as a shared secret, one by a stranger's key, one of another."""
    pem = (
        KEYS["RS256"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    good = client.assertion()
    claims = jwt.decode(good, options={"verify_signature": False})
    stranger = ec.generate_private_key(ec.SECP256R1())
    assertions = [
        jwt.encode({**claims, "jti": "1"}, "", algorithm="none", headers={"kid": "ES256"}),
        client.assertion(key=stranger),
        client.assertion("RS256", headers={"kid": "ES256"}),
        client.assertion(headers={"kid": "unknown"}),
        good[:-8] + "AAAAAAAA",
        "x.y.z",
        "é",
    ]
    hs256 = _hs256(pem, claims)
    for one in (*assertions, hs256):
        answer = await http.post("/token", data=client.form(one))
        assert_refused(answer, 401, "invalid_client")


def _hs256(secret: bytes, claims: dict[str, Any]) -> str:
    """Sign as no library lets one sign any more."""
    import base64
    import hashlib
    import hmac
    import json

    def encoded(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    header = {"alg": "HS256", "typ": "JWT", "kid": "RS256"}
    message = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{message}.{encoded(hmac.new(secret, message.encode(), hashlib.sha256).digest())}"


async def test_two_ways_at_once_are_refused(client: Client, http: httpx.AsyncClient) -> None:
    """RFC 6749, section 2.3; and half an assertion is no assertion."""
    form = client.form(client.assertion())
    headers = basic(client.application.client_id, client.application.secret)
    assert_refused(await http.post("/token", data=form, headers=headers), 400, "invalid_request")
    with_secret = {**form, "client_secret": client.application.secret}
    assert_refused(await http.post("/token", data=with_secret), 400, "invalid_request")
    half = {name: value for name, value in form.items() if name != "client_assertion_type"}
    assert_refused(await http.post("/token", data=half), 400, "invalid_request")
    other = {**form, "client_assertion_type": "urn:saml"}
    assert_refused(await http.post("/token", data=other), 401, "invalid_client")


async def test_a_key_that_was_taken_away_is_good_for_nothing(
    client: Client, http: httpx.AsyncClient
) -> None:
    """And so is one of an application that is deactivated."""
    await client.house.registry.tell(
        client.application.updated(changed=("keys",), keys=(public("RS256"),))
    )

    async def is_refused(algorithm: str) -> bool:
        form = client.form(client.assertion(algorithm))
        return (await http.post("/token", data=form)).status_code == 401

    await eventually(lambda: is_refused("ES256"))
    assert not await is_refused("RS256")
    await client.house.registry.tell(client.application.deactivated())
    await eventually(lambda: is_refused("RS256"))


async def test_a_key_without_a_name_is_found_by_its_algorithm(
    client: Client, http: httpx.AsyncClient
) -> None:
    """If it is the only one."""
    form = client.form(client.assertion(headers={}))
    assert (await http.post("/token", data=form)).status_code == 200


async def test_uses_of_each_key_are_counted_by_themselves(house: House) -> None:
    """As those of secrets are: which key is out of use, its owner can see before taking it away."""
    client = Client(house)
    await house.registry.tell(client.created())
    async with house.ready(usage_interval=timedelta(milliseconds=50)) as http:

        async def is_known() -> bool:
            answer = await http.post("/token", data=client.form(client.assertion("ES256")))
            return answer.status_code == 200

        await eventually(is_known)
        for algorithm in ("EdDSA", "EdDSA", "RS256"):
            form = client.form(client.assertion(algorithm))
            assert (await http.post("/token", data=form)).status_code == 200

        def counts() -> list[int]:
            uses: Counter[str] = Counter()
            for report in house.registry.reports:
                for use in report.uses:
                    uses[use.secret_id] += use.count
            return sorted(uses.values())

        await eventually(lambda: counts() == [1, 1, 2])
