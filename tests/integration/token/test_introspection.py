"""`POST /introspect` and `POST /revoke`, from outside."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest

from services.token import revocation
from services.token.rotation import KeyPlaces
from tests.integration.token.house import House
from tests.integration.token.test_token_endpoint import assert_refused, basic
from tests.support.eventually import eventually
from tests.unit.token.factories import Application

INACTIVE = {"active": False}


async def token_of(http: httpx.AsyncClient, application: Application, **more: str) -> str:
    """Return a fresh access token of an application."""
    answer = await http.post(
        "/oauth2-token",
        data={"grant_type": "client_credentials", **more},
        headers=basic(application.client_id, application.secret),
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def introspected(http: httpx.AsyncClient, by: Application, token: str) -> Any:
    """Return what the caller learns."""
    answer = await http.post(
        "/introspect", data={"token": token}, headers=basic(by.client_id, by.secret)
    )
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def revoke(
    http: httpx.AsyncClient, by: Application, token: str, **more: str
) -> httpx.Response:
    """Ask for the end of a token."""
    return await http.post(
        "/revoke", data={"token": token, **more}, headers=basic(by.client_id, by.secret)
    )


@pytest.fixture
def auditor() -> Application:
    """Return an application that may ask about all tokens."""
    return Application(scopes=("introspection",))


async def test_a_client_learns_about_its_own_token(house: House, http: httpx.AsyncClient) -> None:
    """RFC 7662, section 2.2: what the token says, and that it is good."""
    token = await token_of(http, house.application, scope="events:read")
    claims = jwt.decode(token, options={"verify_signature": False})

    found = await introspected(http, house.application, token)

    assert found == {"active": True, "token_type": "Bearer", **claims}


async def test_others_learn_nothing_unless_they_may(
    house: House, http: httpx.AsyncClient, auditor: Application
) -> None:
    """With the scope `introspection` it is every token; without it "inactive", as for no token."""
    stranger = Application()
    await house.registry.tell(stranger.created(), auditor.created())
    token = await token_of(http, house.application)

    assert await introspected(http, stranger, token) == INACTIVE
    assert (await introspected(http, auditor, token))["active"] is True


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é", "ey" * 4000])
async def test_what_is_no_token_of_ours_is_inactive(
    house: House, http: httpx.AsyncClient, token: str
) -> None:
    """Never an error, and never a reason."""
    answer = await http.post(
        "/introspect",
        data={"token": token},
        headers=basic(house.application.client_id, house.application.secret),
    )
    if token:
        assert (answer.status_code, answer.json()) == (200, INACTIVE)
    else:
        assert_refused(answer, 400, "invalid_request")


async def test_a_forged_token_is_inactive(house: House, http: httpx.AsyncClient) -> None:
    """By another key, without a signature, or with the public key as a shared secret."""
    token = await token_of(http, house.application)
    claims = jwt.decode(token, options={"verify_signature": False})
    header = jwt.get_unverified_header(token)
    public = (house.var / "oauth_public.key").read_text()
    message, _, signature = token.rpartition(".")
    forged = [
        jwt.encode(claims, "", algorithm="none", headers={**header, "alg": "none"}),
        jwt.encode(claims, "x" * 64, algorithm="HS256", headers={**header, "alg": "HS256"}),
        f"{message}.{signature[:-4]}AAAA",
        message,
    ]
    assert public.startswith("-----BEGIN PUBLIC KEY")
    for one in forged:
        assert await introspected(http, house.application, one) == INACTIVE


async def test_whoever_asks_has_to_say_who_they_are(house: House, http: httpx.AsyncClient) -> None:
    """Section 2.1: otherwise it would be a way to try tokens out."""
    token = await token_of(http, house.application)
    for path in ("/introspect", "/revoke"):
        assert_refused(await http.post(path, data={"token": token}), 401, "invalid_client")
        wrong = basic(house.application.client_id, Application().secret)
        answer = await http.post(path, data={"token": token}, headers=wrong)
        assert_refused(answer, 401, "invalid_client")
        assert (await http.get(path)).status_code == 405


async def test_a_token_dies_with_its_client(house: House, http: httpx.AsyncClient) -> None:
    """From the moment the event arrives; and it lives again with the client."""
    other = Application()
    await house.registry.tell(other.created())
    token = await token_of(http, other)
    auditor = Application(scopes=("introspection",))
    await house.registry.tell(auditor.created())

    async def is_active() -> bool:
        found = await introspected(http, auditor, token)
        return bool(found["active"])

    async def is_inactive() -> bool:
        return not await is_active()

    assert await eventually(is_active)
    await house.registry.tell(other.deactivated())
    await eventually(is_inactive)
    await house.registry.tell(other.activated())
    await eventually(is_active)
    await house.registry.tell(other.deleted())
    await eventually(is_inactive)


async def test_a_client_revokes_one_of_its_tokens(house: House, http: httpx.AsyncClient) -> None:
    """At once, and that one alone; again is the same."""
    first = await token_of(http, house.application)
    second = await token_of(http, house.application)

    answer = await revoke(http, house.application, first, token_type_hint="unheard_of")

    assert (answer.status_code, answer.content) == (200, b"")
    assert await introspected(http, house.application, first) == INACTIVE
    assert (await introspected(http, house.application, second))["active"] is True
    assert (await revoke(http, house.application, first)).status_code == 200
    assert house.registry.asked["revocations"] == 1


async def test_the_token_of_another_client_is_not_revoked(
    house: House, http: httpx.AsyncClient
) -> None:
    """RFC 7009, section 2.1: refused, and the client is told."""
    stranger = Application()
    await house.registry.tell(stranger.created())
    token = await token_of(http, house.application)
    await token_of(http, stranger)

    assert_refused(await revoke(http, stranger, token), 400, "invalid_request")
    assert (await introspected(http, house.application, token))["active"] is True


async def test_an_unknown_token_counts_as_revoked(house: House, http: httpx.AsyncClient) -> None:
    """Section 2.2: what the client wants is so."""
    assert (await revoke(http, house.application, "unknown")).status_code == 200
    assert "revocations" not in house.registry.asked


async def test_without_the_registry_a_revocation_is_not_pretended(house: House) -> None:
    """Section 2.2.1: 503 and Retry-After; the token must be assumed to be good still."""
    house.make_keys()
    await house.registry.tell(house.application.created())
    async with house.token_service() as http:
        async with house.registry.serving():
            await eventually(lambda: token_is_given(http, house))
            token = await token_of(http, house.application)
        answer = await revoke(http, house.application, token)

        assert_refused(answer, 503, "temporarily_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert (await introspected(http, house.application, token))["active"] is True


async def token_is_given(http: httpx.AsyncClient, house: House) -> bool:
    answer = await http.post("/token", data=house.request())
    return answer.status_code == 200


async def test_a_client_cannot_fill_the_log_with_revocations(
    house: House, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is kept until the token has expired; whoever needs more revokes all at once."""
    monkeypatch.setattr(revocation, "LIVE_REVOCATIONS", 2)
    tokens = [await token_of(http, house.application) for _ in range(3)]
    answers = [await revoke(http, house.application, one) for one in tokens]

    assert [one.status_code for one in answers] == [200, 200, 429]
    assert int(answers[2].headers["retry-after"]) > 0


async def test_keys_that_are_previous_still_verify(house: House, http: httpx.AsyncClient) -> None:
    """A rotation ends no token."""
    token = await token_of(http, house.application)
    places = KeyPlaces(house.var / "oauth_private.key", house.var / "oauth_public.key")
    places.rotate(
        algorithm=None, ahead=timedelta(), lifetime=timedelta(hours=1), now=datetime.now(UTC)
    )

    async def is_rotated() -> bool:
        fresh = await token_of(http, house.application)
        kids = [jwt.get_unverified_header(one)["kid"] for one in (token, fresh)]
        return bool(kids[0] != kids[1])

    await eventually(is_rotated)
    assert (await introspected(http, house.application, token))["active"] is True
