"""Tokens that are bound to a key (RFC 9449)."""

import time
import uuid
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from shared.jwk import thumbprint
from tests.integration.token.house import House
from tests.integration.token.test_token_endpoint import assert_refused

KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def jwk_of(algorithm: str) -> dict[str, Any]:
    """Return the public half of a key."""
    jwk: Any = get_default_algorithms()[algorithm].to_jwk(
        KEYS[algorithm].public_key(), as_dict=True
    )
    return {one: jwk[one] for one in ("kty", "n", "e", "crv", "x", "y") if one in jwk}


def proof(
    url: str, algorithm: str = "ES256", *, headers: dict[str, Any] | None = None, **claims: Any
) -> str:
    """Return a proof for the token endpoint; a claim that is None is left out."""
    everything = {
        "jti": uuid.uuid4().hex,
        "htm": "POST",
        "htu": f"{url}/oauth2-token",
        "iat": int(time.time()),
        **claims,
    }
    given = {name: value for name, value in everything.items() if value is not None}
    named = {"typ": "dpop+jwt", "jwk": jwk_of(algorithm), **(headers or {})}
    return jwt.encode(given, KEYS[algorithm], algorithm=algorithm, headers=named)


async def ask(house: House, http: httpx.AsyncClient, *proofs: str) -> httpx.Response:
    """Ask for a token with proofs in the header."""
    return await http.post(
        "/oauth2-token", data=house.request(), headers=[("DPoP", one) for one in proofs]
    )


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_token_is_bound_to_the_key_of_the_proof(
    house: House, http: httpx.AsyncClient, algorithm: str
) -> None:
    """Section 5: the type says so, and the claim `cnf`; introspection says it too."""
    answer = await ask(house, http, proof(house.url, algorithm))

    assert (answer.status_code, answer.json()["token_type"]) == (200, "DPoP")
    token = answer.json()["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["cnf"] == {"jkt": thumbprint(jwk_of(algorithm))}
    found = await http.post("/introspect", data=house.request(token=token))
    assert found.json()["token_type"] == "DPoP"
    assert found.json()["cnf"] == claims["cnf"]


WRONG: list[dict[str, Any]] = [
    {"htm": "GET"},
    {"htm": None},
    {"htu": "https://elsewhere.example/oauth2-token"},
    {"htu": None},
    {"htu": "http://[::1"},
    {"htu": 7},
    {"iat": 1},
    {"iat": 9_999_999_999},
    {"iat": None},
    {"iat": "now"},
    {"jti": None},
    {"jti": 7},
    {"jti": "x" * 300},
    {"nonce": 7},
    {"headers": {"typ": "JWT"}},
    {"headers": {"jwk": {"kty": "oct", "k": "c2VjcmV0"}}},
    {"headers": {"jwk": None}},
    {"headers": {"jwk": "x"}},
    {"headers": {"jwk": {**jwk_of("ES256"), "d": "x"}}},
    {"headers": {"jwk": jwk_of("RS256")}},
    {"headers": {"jwk": {"kty": "EC", "crv": "P-256"}}},
]


async def test_a_proof_that_is_wrong_in_one_thing_is_refused(
    house: House, http: httpx.AsyncClient
) -> None:
    """Section 4.3, one check after the other."""
    for wrong in WRONG:
        answer = await ask(house, http, proof(house.url, **wrong))
        assert (answer.status_code, wrong) == (400, wrong)
        assert_refused(answer, 400, "invalid_dpop_proof")


async def test_a_proof_is_good_once_and_comes_alone(house: House, http: httpx.AsyncClient) -> None:
    """A thief of the request must not get a second token."""
    one = proof(house.url)
    assert (await ask(house, http, one)).status_code == 200
    assert_refused(await ask(house, http, one), 400, "invalid_dpop_proof")
    answer = await ask(house, http, proof(house.url), proof(house.url))
    assert_refused(answer, 400, "invalid_dpop_proof")
    assert_refused(await ask(house, http, "x"), 400, "invalid_dpop_proof")


async def test_wrong_credentials_are_said_before_a_wrong_proof(
    house: House, http: httpx.AsyncClient
) -> None:
    """And use no proof up."""
    one = proof(house.url)
    form = {**house.request(), "client_secret": "oas_x"}
    assert_refused(
        await http.post("/oauth2-token", data=form, headers={"DPoP": one}), 401, "invalid_client"
    )
    assert (await ask(house, http, one)).status_code == 200


async def test_a_nonce_is_asked_for_where_it_is_configured(house: House) -> None:
    """Section 8: the client sends the same again, with the nonce it was given."""
    async with house.ready(dpop_nonce=True) as http:
        answer = await ask(house, http, proof(house.url))
        assert_refused(answer, 400, "use_dpop_nonce")
        nonce = answer.headers["dpop-nonce"]
        assert (await ask(house, http, proof(house.url, nonce=nonce))).status_code == 200
        for made_up in ("x", "é", "\ud800"):
            answer = await ask(house, http, proof(house.url, nonce=made_up))
            assert_refused(answer, 400, "use_dpop_nonce")
        # Without a proof nothing is asked for.
        assert (await ask(house, http)).json()["token_type"] == "Bearer"
