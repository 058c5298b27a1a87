"""Resources, lifetimes, and how often wrong credentials are looked at."""

from datetime import UTC, datetime, timedelta

import httpx
import jwt

from shared.credentials import new_client_id, new_client_secret
from shared.sections import FailureLimits
from tests.integration.token.house import House
from tests.integration.token.test_assertions import Client
from tests.integration.token.test_token_endpoint import assert_refused, basic
from tests.support.eventually import eventually
from tests.unit.token.factories import Application

ORDERS = "https://orders.example"


async def test_a_token_can_be_for_a_resource(house: House, http: httpx.AsyncClient) -> None:
    """RFC 8707: its audience, its scopes, its lifetime."""
    answer = (await http.post("/token", data=house.request(resource=ORDERS))).json()
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})

    assert (claims["aud"], answer["scope"]) == (ORDERS, "applications:read")
    assert answer["expires_in"] == claims["exp"] - claims["iat"] == 300
    refused = await http.post("/token", data=house.request(resource=ORDERS, scope="events:read"))
    assert_refused(refused, 400, "invalid_scope")
    for other in ("https://other.example", f"{ORDERS}/", "x"):
        refused = await http.post("/token", data=house.request(resource=other))
        assert_refused(refused, 400, "invalid_target")


async def test_a_token_can_be_for_several_resources(house: House, http: httpx.AsyncClient) -> None:
    """Named one after the other, or in a list of JSON."""
    names = ["https://api.example", ORDERS]
    form = {**house.request(), "resource": names}
    for answer in (await http.post("/token", data=form), await http.post("/token", json=form)):
        token = answer.json()["access_token"]
        claims = jwt.decode(token, options={"verify_signature": False})
        assert (claims["aud"], claims["scope"]) == (names, "applications:read")


async def test_an_application_has_a_lifetime_of_its_own(
    house: House, http: httpx.AsyncClient
) -> None:
    """Until it is taken away again."""
    await house.registry.tell(
        house.application.updated(changed=("token_seconds",), token_seconds=90)
    )

    async def lifetime() -> int:
        return int((await http.post("/token", data=house.request())).json()["expires_in"])

    async def is_short() -> bool:
        return await lifetime() == 90

    await eventually(is_short)


def limited(clients: int, addresses: int = 0) -> FailureLimits:
    return FailureLimits(per_client_and_minute=clients, per_address_and_minute=addresses)


async def test_guessing_is_stopped_and_told_when_to_go_on(house: House) -> None:
    """429 with Retry-After, whether the next guess would be right or wrong."""
    victim = Application()
    async with house.ready(failures=limited(3)) as http:
        await house.registry.tell(victim.created())

        async def guess(secret: str) -> httpx.Response:
            return await http.post(
                "/token",
                data={"grant_type": "client_credentials"},
                headers=basic(victim.client_id, secret),
            )

        guesses = [await guess(new_client_secret()) for _ in range(5)]
        assert [one.status_code for one in guesses] == [401, 401, 401, 429, 429]
        assert_refused(guesses[4], 429, "temporarily_unavailable")
        assert 0 < int(guesses[4].headers["retry-after"]) <= 60
        assert (await guess(victim.secret)).status_code == 429
        # Others are not concerned, also from the same address.
        assert (await http.post("/token", data=house.request())).status_code == 200


async def test_an_honest_client_is_not_locked_out_by_who_guesses_beside_it(house: House) -> None:
    """From the same address, for the same client: what was right a moment ago is looked at."""
    async with house.ready(failures=limited(2, 2)) as http:
        good = house.request()
        assert (await http.post("/token", data=good)).status_code == 200
        for _ in range(3):
            await http.post("/token", data={**good, "client_secret": new_client_secret()})
        assert (await http.post("/token", data=good)).status_code == 200
        # One that tries both ways at first, as some libraries do, is far from any limit.
        unknown = basic(new_client_id(), new_client_secret())
        answer = await http.post("/token", data={"grant_type": "x"}, headers=unknown)
        assert_refused(answer, 400, "unsupported_grant_type")


async def test_a_client_with_keys_is_not_locked_out_either(house: House) -> None:
    """A signature cannot be guessed: who has signed once is looked at, whatever else comes."""
    client = Client(house)
    async with house.ready(failures=limited(2, 2)) as http:
        await house.registry.tell(client.created())
        forms = [client.form(client.assertion()), client.form(client.assertion(jti="twice"))]
        assert (await http.post("/token", data=forms[0])).status_code == 200
        statuses = [(await http.post("/token", data=forms[1])).status_code for _ in range(4)]
        assert statuses == [200, 401, 401, 401]
        assert (await http.post("/token", data=house.request())).status_code == 429
        fresh = client.form(client.assertion())
        assert (await http.post("/token", data=fresh)).status_code == 200


async def test_half_a_character_is_no_fault_of_ours(house: House) -> None:
    """JSON can bring what UTF-8 cannot say; past the limit it is looked up all the same."""
    body = b'{"grant_type":"client_credentials","client_id":"\\ud800","client_secret":"x"}'
    async with house.ready(failures=limited(0, 2)) as http:
        statuses = []
        for _ in range(3):
            answer = await http.post(
                "/token", content=body, headers={"Content-Type": "application/json"}
            )
            statuses.append(answer.status_code)
        assert statuses == [401, 401, 429]


async def test_an_address_that_tries_many_clients_is_stopped_too(house: House) -> None:
    """Each client by itself would never reach its limit."""
    async with house.ready(
        failures=limited(100, 3), catch_up_timeout=timedelta(milliseconds=50)
    ) as http:
        statuses = []
        for _ in range(4):
            headers = basic(new_client_id(), new_client_secret())
            answer = await http.post(
                "/token", data={"grant_type": "client_credentials"}, headers=headers
            )
            statuses.append(answer.status_code)
        assert statuses == [401, 401, 401, 429]


async def test_a_limit_of_zero_is_none(house: House) -> None:
    """For an installation that has a limiter in front."""
    async with house.ready(failures=limited(0, 0)) as http:
        wrong = {**house.request(), "client_secret": new_client_secret()}
        statuses = {(await http.post("/token", data=wrong)).status_code for _ in range(5)}
        assert statuses == {401}


async def test_the_reason_is_for_the_owner_alone(house: House) -> None:
    """The caller hears the same; the registry is told which it was."""
    expired, stopped = Application(), Application()
    async with house.ready(usage_interval=timedelta(milliseconds=50)) as http:
        await house.registry.tell(
            expired.created(expires_at=datetime(2020, 1, 1, tzinfo=UTC)),
            stopped.created(active=False),
        )

        async def ask(client_id: str, secret: str, **more: str) -> httpx.Response:
            form = {"grant_type": "client_credentials", **more}
            return await http.post("/token", data=form, headers=basic(client_id, secret))

        good = house.application
        answers = [
            await ask(good.client_id, new_client_secret()),
            await ask(good.client_id, "guess"),
            await ask(good.client_id, "50%"),
            await ask(expired.client_id, expired.secret),
            await ask(stopped.client_id, stopped.secret),
        ]
        assert len({answer.text for answer in answers}) == 1
        await ask(good.client_id, good.secret, scope="nothing")
        await ask(good.client_id, good.secret, resource="https://nowhere.example")
        await ask(new_client_id(), new_client_secret())

        def told() -> dict[tuple[str, str], int]:
            found: dict[tuple[str, str], int] = {}
            for report in house.registry.reports:
                for one in report.failures:
                    key = (one.application_id, one.reason)
                    found[key] = found.get(key, 0) + one.count
            return found

        wanted = {
            (good.id, "wrong_secret"): 1,
            (good.id, "malformed_secret"): 1,
            (good.id, "malformed_basic"): 1,
            (good.id, "unknown_scope"): 1,
            (good.id, "unknown_resource"): 1,
            (expired.id, "expired_secret"): 1,
            (stopped.id, "inactive_application"): 1,
        }
        await eventually(lambda: told() == wanted)
