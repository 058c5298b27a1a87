"""What Prometheus is told: the same whichever process answers, and never more than is known."""

import os
import random
import signal
import uuid
from datetime import UTC, datetime, timedelta

import httpx

from services.token.rotation import KeyPlaces
from tests.integration.token.house import House
from tests.integration.token.test_processes import children_of, served
from tests.support.eventually import eventually
from tests.support.exposition import ours, scraped, value
from tests.support.readiness import is_ready

REQUESTS = "oauthapps_token_requests_total"


async def test_any_worker_tells_what_all_have_counted_also_those_that_died(house: House) -> None:
    """Rates are made of it: it must neither depend on who answers nor ever fall."""
    house.make_keys()
    await house.registry.tell(house.application.created())
    async with served(house, 2) as (process, http):

        async def told() -> float:
            return await value(http, REQUESTS, endpoint="token", outcome="ok") or 0.0

        async def all_tell(count: int) -> bool:
            return {await told() for _ in range(8)} == {float(count)}

        for _ in range(20):
            assert (await http.post("/token", data=house.request())).status_code == 200
        # Both have written down by then what they counted.
        await eventually(lambda: all_tell(20))

        before = children_of(process.pid)
        os.kill(before[0], signal.SIGKILL)
        await eventually(lambda: len(set(children_of(process.pid)) - set(before)) == 1)
        await eventually(lambda: _answers(http), 30)
        for _ in range(5):
            assert (await http.post("/token", data=house.request())).status_code == 200
        await eventually(lambda: all_tell(25))


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return await is_ready(http)
    except httpx.TransportError:
        return False


async def test_odd_requests_make_no_new_series(house: House, http: httpx.AsyncClient) -> None:
    """Every series costs memory at whoever stores it; a stranger must not make any."""

    async def be_odd() -> None:
        odd = uuid.uuid4().hex
        for method in ("GET", "PUT", f"X{odd[:6].upper()}"):
            await http.request(method, f"/{odd}")
            await http.request(method, "/token")
        for path in ("/token", "/introspect", "/revoke", f"/token/{odd}"):
            await http.post(path, content=random.randbytes(20))  # noqa: S311 - junk
            await http.post(path, data=house.request(client_id=f"client{odd}"))
            await http.post(path, data=house.request(client_secret=odd))
            await http.post(path, data=house.request(scope=odd, grant_type=odd))
            await http.post(path, data=house.request(scope=odd))
            await http.post(path, data=house.request(resource=f"https://{odd}.example"))

    await be_odd()
    before = await ours(http)
    for _ in range(10):
        await be_odd()

    assert await ours(http) == before
    assert len([name for name, _ in before if name.startswith("oauthapps_token_")]) < 60


async def test_the_keys_and_their_next_step_are_told(house: House, http: httpx.AsyncClient) -> None:
    """A rotation that was planned and does not happen must be seen; so must a key of last year."""

    async def states() -> list[str]:
        found = [dict(labels) for name, labels in await ours(http) if name.endswith("_key_info")]
        assert {one["algorithm"] for one in found} == {"ES256"}
        return sorted(one["state"] for one in found)

    made = (house.var / "oauth_private.key").stat().st_mtime
    assert await states() == ["current"]
    assert await value(http, "oauthapps_token_signing_key_made_timestamp_seconds") == made
    assert await value(http, "oauthapps_token_keys_next_step_timestamp_seconds") is None

    places = KeyPlaces(house.var / "oauth_private.key", house.var / "oauth_public.key")
    now = datetime.now(UTC)
    places.rotate(algorithm=None, ahead=timedelta(hours=1), lifetime=timedelta(days=1), now=now)

    await eventually(lambda: _is_planned(http, (now + timedelta(hours=1)).timestamp()))
    assert await states() == ["current", "next"]

    # An hour has passed: what the plan said is in the past.
    text = places.plan.read_text().replace(
        (now + timedelta(hours=1)).isoformat().replace("+00:00", "Z"),
        (now - timedelta(hours=1)).isoformat().replace("+00:00", "Z"),
    )
    places.plan.write_text(text)
    await eventually(lambda: _has_moved(http))
    assert await states() == ["current", "previous"]


async def _is_planned(http: httpx.AsyncClient, at: float) -> bool:
    told = await value(http, "oauthapps_token_keys_next_step_timestamp_seconds")
    return told is not None and abs(told - at) < 1


async def _has_moved(http: httpx.AsyncClient) -> bool:
    states = {dict(labels)["state"] for name, labels in await ours(http) if "key_info" in name}
    return "previous" in states


async def test_the_projection_is_told_with_the_bound_it_is_held_against(
    house: House, http: httpx.AsyncClient
) -> None:
    """An alert compares the two, whatever the configuration says."""
    found = {name: value for (name, _), value in (await scraped(http)).items()}

    assert found["oauthapps_token_projection_position"] == 1
    assert found["oauthapps_token_clients"] == 1
    assert 0 <= found["oauthapps_token_projection_staleness_seconds"] < 3600
    assert found["oauthapps_token_projection_staleness_limit_seconds"] == 3600
    epoch = house.registry.log_epoch
    assert await value(http, "oauthapps_token_log_info", epoch=epoch) == 1
