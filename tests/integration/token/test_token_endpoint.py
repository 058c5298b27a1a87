"""The token endpoint over HTTP: what RFC 6749 asks for, one fact a test."""

import base64

import httpx
import jwt
import pytest

from shared.credentials import new_client_id, new_client_secret
from tests.integration.token.house import House

ENDPOINTS = ["/oauth2-token", "/token"]


def basic(client_id: str, secret: str) -> dict[str, str]:
    pair = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def assert_refused(response: httpx.Response, status: int, code: str) -> None:
    assert (status, code) == (response.status_code, response.json()["error"])
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["pragma"] == "no-cache"
    assert ("www-authenticate" in response.headers) == (code == "invalid_client")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_client_gets_a_token(house: House, http: httpx.AsyncClient, endpoint: str) -> None:
    """RFC 6749, sections 4.4.3 and 5.1; no refresh token."""
    response = await http.post(endpoint, data=house.request())

    answer = response.json()
    assert response.status_code == 200
    assert {"access_token", "token_type", "expires_in", "scope"} == set(answer)
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    assert answer["scope"] == "applications:read events:read"
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["pragma"] == "no-cache"


async def test_the_token_is_verified_by_the_published_keys(
    house: House, http: httpx.AsyncClient
) -> None:
    """What a resource server does with nothing but the metadata."""
    token = (await http.post("/token", data=house.request())).json()["access_token"]
    metadata = (await http.get("/.well-known/oauth-authorization-server")).json()
    keys = jwt.PyJWKSet.from_dict((await http.get(metadata["jwks_uri"])).json())

    claims = jwt.decode(
        token,
        keys[jwt.get_unverified_header(token)["kid"]],
        algorithms=["ES256"],
        issuer=metadata["issuer"],
        audience="https://api.example",
    )

    assert house.application.client_id == claims["client_id"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_only_post_is_served(house: House, http: httpx.AsyncClient, method: str) -> None:
    """Item 1: 405 names what is allowed."""
    response = await http.request(method, "/oauth2-token", params=house.request())

    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["pragma"] == "no-cache"


async def test_json_is_accepted_too(house: House, http: httpx.AsyncClient) -> None:
    """Clients of the original send it."""
    assert (await http.post("/token", json=house.request())).status_code == 200


async def test_another_media_type_is_refused(house: House, http: httpx.AsyncClient) -> None:
    """Item 1."""
    response = await http.post(
        "/token", content=b"grant_type=client_credentials", headers={"Content-Type": "text/plain"}
    )
    assert_refused(response, 415, "invalid_request")
    assert_refused(
        await http.post("/token", files={"grant_type": b"client_credentials"}),
        415,
        "invalid_request",
    )


async def test_basic_credentials_are_accepted(house: House, http: httpx.AsyncClient) -> None:
    """Items 6, 7 and 10: an equal client_id in the body is fine."""
    form = {"grant_type": "client_credentials"}
    client_id, secret = house.application.client_id, house.application.secret
    headers = basic(client_id, secret)

    assert (await http.post("/token", data=form, headers=headers)).status_code == 200
    form["client_id"] = client_id
    assert (await http.post("/token", data=form, headers=headers)).status_code == 200
    escaped = basic(client_id, secret.replace("_", "%5F"))
    assert (await http.post("/token", data=form, headers=escaped)).status_code == 200


async def test_two_ways_of_authentication_are_refused(
    house: House, http: httpx.AsyncClient
) -> None:
    """Item 10."""
    headers = basic(house.application.client_id, house.application.secret)
    response = await http.post("/token", data=house.request(), headers=headers)
    assert_refused(response, 400, "invalid_request")

    form = {"grant_type": "client_credentials", "client_id": new_client_id()}
    assert_refused(await http.post("/token", data=form, headers=headers), 400, "invalid_request")


async def test_a_repeated_authorization_header_is_refused(
    house: House, http: httpx.AsyncClient
) -> None:
    """A proxy and we could read two different ones."""
    one = basic(house.application.client_id, house.application.secret)["Authorization"]
    response = await http.post(
        "/token",
        data={"grant_type": "client_credentials"},
        headers=[("Authorization", one), ("Authorization", one)],
    )
    assert_refused(response, 400, "invalid_request")


async def test_every_failed_authentication_gets_the_same_answer(
    house: House, http: httpx.AsyncClient
) -> None:
    """Items 8 and 9: nobody learns whether a client exists."""
    forms = [
        house.request(client_id=new_client_id()),
        house.request(client_secret=new_client_secret()),
        house.request(client_id="x"),
        house.request(client_secret="x"),
        house.request(client_secret=""),
        {"grant_type": "client_credentials"},
    ]
    answers = set()
    for form in forms:
        response = await http.post("/token", data=form)
        assert_refused(response, 401, "invalid_client")
        assert response.headers["www-authenticate"] == 'Basic realm="oauthapps"'
        answers.add(response.content)
    bad = await http.post("/token", data=forms[-1], headers={"Authorization": "Basic !"})
    assert_refused(bad, 401, "invalid_client")
    answers.add(bad.content)
    assert len(answers) == 1


async def test_credentials_of_the_query_string_are_never_accepted(
    house: House, http: httpx.AsyncClient
) -> None:
    """Item 13: they end up in logs of proxies."""
    form = {"grant_type": "client_credentials"}
    response = await http.post("/token", params=house.request(), data=form)
    assert_refused(response, 401, "invalid_client")

    empty = await http.post(
        "/token",
        params=house.request(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert_refused(empty, 400, "invalid_request")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"scope": "applications:write"}, "invalid_scope"),
        ({"scope": 'a"\\é'}, "invalid_scope"),
        ({"resource": "https://other.example"}, "invalid_target"),
    ],
)
async def test_what_cannot_be_granted_has_its_code(
    house: House, http: httpx.AsyncClient, change: dict[str, str], code: str
) -> None:
    """Item 14."""
    assert_refused(await http.post("/token", data=house.request(**change)), 400, code)


async def test_the_configured_audience_is_a_fine_resource(
    house: House, http: httpx.AsyncClient
) -> None:
    """RFC 8707."""
    form = house.request(resource="https://api.example", scope="events:read")

    response = await http.post("/token", data=form)

    assert (response.status_code, response.json()["scope"]) == (200, "events:read")


async def test_unknown_and_empty_parameters_are_ignored(
    house: House, http: httpx.AsyncClient
) -> None:
    """Item 12."""
    form = house.request(scope="", resource="", nonsense="1", audience="x")

    assert (await http.post("/token", data=form)).status_code == 200


async def test_a_repeated_parameter_is_refused(house: House, http: httpx.AsyncClient) -> None:
    """Item 11."""
    body = httpx.QueryParams(house.request()).add("scope", "a").add("scope", "a")
    response = await http.post(
        "/token",
        content=str(body),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert_refused(response, 400, "invalid_request")


async def test_the_keys_are_published_without_their_private_half(http: httpx.AsyncClient) -> None:
    """RFC 7517."""
    response = await http.get("/.well-known/jwks.json")

    (key,) = response.json()["keys"]
    assert {"kty", "crv", "x", "y", "use", "alg", "kid"} == set(key)
    assert (key["use"], key["alg"]) == ("sig", "ES256")
    assert "max-age" in response.headers["cache-control"]


async def test_metadata_says_what_is_served(house: House, http: httpx.AsyncClient) -> None:
    """RFC 8414, section 2."""
    document = (await http.get("/.well-known/oauth-authorization-server")).json()

    assert house.url == document["issuer"]
    assert f"{house.url}/oauth2-token" == document["token_endpoint"]
    assert document["grant_types_supported"] == ["client_credentials"]
    assert (document["token_endpoint_auth_methods_supported"]) == [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
    ]
    for one in ("introspection", "revocation"):
        assert document[f"{one}_endpoint"].startswith(house.url)
        assert "private_key_jwt" in document[f"{one}_endpoint_auth_methods_supported"]
    assert document["access_token_signing_alg_values_supported"] == ["ES256"]
    assert "applications:read" in document["scopes_supported"]


async def test_another_address_is_a_problem_and_never_a_redirect(
    house: House, http: httpx.AsyncClient
) -> None:
    """A redirect would send the credentials on, to wherever the Host header says."""
    for path in ("/nothing", "/token/", "/oauth2-token/"):
        response = await http.post(path, data=house.request(), headers={"Host": "evil.example"})

        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"


async def test_metrics_count_outcomes_and_name_no_client(
    house: House, http: httpx.AsyncClient
) -> None:
    """A label per client would be a metric per client."""
    await http.post("/token", data=house.request())
    await http.post("/token", data=house.request(client_secret="x"))

    text = (await http.get("/metrics")).text

    assert 'oauthapps_token_requests_total{endpoint="token",outcome="ok"}' in text
    assert 'oauthapps_token_requests_total{endpoint="token",outcome="invalid_client"}' in text
    assert "oauthapps_token_projection_staleness_seconds" in text
    assert house.application.client_id not in text
