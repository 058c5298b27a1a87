"""Client libraries that real users have, against the running service."""

import asyncio
from typing import Any

import httpx
import jwt
import pytest
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from oauthlib.oauth2 import BackendApplicationClient, InvalidClientError
from requests_oauthlib import OAuth2Session

from tests.integration.token.house import House


@pytest.fixture(autouse=True)
def _without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def verify(house: House, token: str) -> dict[str, Any]:
    """Verify as a resource server does, with PyJWT's own client of the JWKS."""
    keys = jwt.PyJWKClient(f"{house.url}/.well-known/jwks.json")
    claims: dict[str, Any] = jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token),
        algorithms=["ES256"],
        issuer=house.url,
        audience="https://api.example",
    )
    return claims


@pytest.mark.parametrize("way", ["header", "body"])
async def test_requests_oauthlib_gets_a_token(
    house: House, http: httpx.AsyncClient, way: str
) -> None:
    """By Basic, which is its default, and by the body."""
    client_id, secret = house.application.client_id, house.application.secret

    def fetch() -> dict[str, Any]:
        with OAuth2Session(client=BackendApplicationClient(client_id=client_id)) as session:
            found: dict[str, Any] = session.fetch_token(
                f"{house.url}/oauth2-token",
                client_id=client_id,
                client_secret=secret,
                include_client_id=True if way == "body" else None,
                scope=["events:read"],
            )
            return found

    token = await asyncio.to_thread(fetch)
    claims = await asyncio.to_thread(verify, house, token["access_token"])

    assert (client_id, "events:read") == (claims["client_id"], claims["scope"])


async def test_requests_oauthlib_understands_a_refusal(
    house: House, http: httpx.AsyncClient
) -> None:
    """The error is the RFC's, so the library knows it."""

    def fetch() -> None:
        client = BackendApplicationClient(client_id=house.application.client_id)
        with OAuth2Session(client=client) as session:
            session.fetch_token(f"{house.url}/oauth2-token", client_secret="oas_wrong")

    with pytest.raises(InvalidClientError):
        await asyncio.to_thread(fetch)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_authlib_gets_a_token(house: House, http: httpx.AsyncClient, method: str) -> None:
    """Both methods that the metadata advertises."""

    def fetch() -> dict[str, Any]:
        with AuthlibSession(
            house.application.client_id,
            house.application.secret,
            token_endpoint_auth_method=method,
        ) as session:
            found: dict[str, Any] = session.fetch_token(
                f"{house.url}/oauth2-token", grant_type="client_credentials"
            )
            return found

    token = await asyncio.to_thread(fetch)
    claims = await asyncio.to_thread(verify, house, token["access_token"])

    assert house.application.client_id == claims["sub"]
    assert claims["scope"] == "applications:read events:read"
