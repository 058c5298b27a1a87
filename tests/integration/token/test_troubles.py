"""What the token service says and does while something that it needs is not as it should be."""

from functools import partial
from pathlib import Path

import httpx

from tests.integration.token.house import House, is_ready
from tests.support.eventually import eventually
from tests.support.logged import Logged


async def checks(http: httpx.AsyncClient) -> dict[str, str]:
    found: dict[str, str] = (await http.get("/readyz")).json()["checks"]
    return found


async def says(http: httpx.AsyncClient, check: str, words: str) -> bool:
    """Tell whether a line of `/readyz` has these words."""
    return words in (await checks(http))[check]


async def test_a_service_credential_that_comes_late_is_waited_for(
    house: House, logged: Logged
) -> None:
    """Whoever makes it may be slower than we are; until then the registry cannot be asked."""
    path = house.var / "service_credential"
    path.rename(house.var / "away")
    house.make_keys()
    await house.registry.tell(house.application.created())
    async with house.registry.serving(), house.token_service() as http:
        for check in ("secrets", "subscription"):
            await eventually(partial(says, http, check, "no such file; `oauthapps migrate`"))
        assert (await http.get("/livez")).status_code == 200

        (house.var / "away").rename(path)
        await eventually(lambda: is_ready(http))
        await eventually(lambda: says(http, "subscription", "ok"))
        assert (await checks(http))["secrets"] == "ok"
        assert (await http.post("/token", data=house.request())).status_code == 200
    assert logged.count("secret not read") == 1
    assert "Traceback" not in logged.text()


async def test_without_rabbitmq_it_says_why_and_goes_on_by_the_feed(
    house: House, tmp_path: Path, amqp_url: str
) -> None:
    """Ready, and with a part named that is not: the feed tells all that the bus would."""
    wrong = amqp_url.replace(":guest@", ":hunter2@")
    async with house.ready(amqp_url=wrong) as http:
        await eventually(lambda: says(http, "bus", "refuses user 'guest': wrong password"))
        assert await is_ready(http)
        await house.registry.tell(house.application.deactivated())

        async def is_refused() -> bool:
            return (await http.post("/token", data=house.request())).status_code == 401

        await eventually(is_refused)
