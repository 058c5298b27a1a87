"""Rate limits of a running registry: who is told what, and who is refused."""

from pathlib import Path

from shared.sections import RateLimits
from tests.integration.registry.api import api_of, problem
from tests.integration.registry.house import House


async def test_a_client_past_its_limit_is_told_when_to_come_back(
    house: House, tmp_path: Path
) -> None:
    """A long poll counts as one read, and a read takes nothing from the writes."""
    limits = RateLimits(reads_per_minute=3, writes_per_minute=1)
    async with api_of(house, tmp_path, rate_limits=limits) as api:
        listed = await api.http.get("/api/applications")
        missing = await api.http.get("/api/applications/none")
        polled = await api.http.get("/api/events?after=0&wait=0.1")
        refused = await api.http.get("/api/applications")
        written = await api.http.post("/api/applications", json={"name": "CI"})
        too_much = await api.http.post("/api/applications", json={"name": "CD"})
        another = await api.client_of(await api.user("another@example.com"))
        theirs = await api.http.get("/api/applications", headers=another)

    problem(refused, 429)
    assert refused.headers["retry-after"] == "20"
    assert refused.headers["ratelimit"] == '"reads";r=0;t=20'
    assert [one.headers["ratelimit"].split(";")[1] for one in (listed, missing, polled)] == [
        "r=2",
        "r=1",
        "r=0",
    ]
    assert missing.status_code == 404
    assert {one.headers["ratelimit-policy"] for one in (listed, missing, polled, refused)} == {
        '"reads";q=3;w=60'
    }
    assert written.status_code == 201
    assert written.headers["ratelimit-policy"] == '"writes";q=1;w=60'
    problem(too_much, 429)
    assert theirs.status_code == 200


async def test_a_token_without_the_scope_counts_too(house: House, tmp_path: Path) -> None:
    """Otherwise what is refused would be free."""
    async with api_of(house, tmp_path, rate_limits=RateLimits(reads_per_minute=1)) as api:
        headers = api.headers(api.client_id, "events:read")
        answers = [await api.http.get("/api/applications", headers=headers) for _ in range(2)]

    problem(answers[0], 403)
    problem(answers[1], 429)


async def test_a_refusal_costs_no_key(house: House, tmp_path: Path) -> None:
    """Sent again when there is room, the request is as new."""
    async with api_of(house, tmp_path, rate_limits=RateLimits(writes_per_minute=1)) as api:
        keyed = {"Idempotency-Key": "key"}
        first, refused = [
            await api.http.post("/api/applications", json={"name": "CI"}, headers=keyed)
            for _ in range(2)
        ]

    assert first.status_code == 201
    problem(refused, 429)
    assert first.json()["client_secret"] not in refused.text


async def test_junk_is_not_looked_at_for_ever_and_shuts_nobody_out(
    house: House, tmp_path: Path
) -> None:
    """A signature check costs more than the request that asks for it."""
    limits = RateLimits(failed_authentications_per_minute=2)
    async with api_of(house, tmp_path, rate_limits=limits) as api:
        await api.http.get("/api/applications")
        junk = [
            await api.http.get("/api/applications", headers={"Authorization": f"Bearer {n}"})
            for n in range(3)
        ]
        none = await api.http.get("/api/applications", headers={"Authorization": ""})
        known = await api.http.get("/api/applications")

    assert [one.status_code for one in junk] == [401, 401, 429]
    assert junk[2].headers["retry-after"] == "30"
    assert "ratelimit" not in junk[0].headers
    problem(none, 401)
    assert known.status_code == 200


async def test_without_limits_there_are_no_headers(house: House, tmp_path: Path) -> None:
    """There is nothing to tell."""
    limits = RateLimits(
        reads_per_minute=0, writes_per_minute=0, failed_authentications_per_minute=0
    )
    async with api_of(house, tmp_path, rate_limits=limits) as api:
        answer = await api.http.get("/api/applications")

    assert answer.status_code == 200
    assert "ratelimit" not in answer.headers
    assert "ratelimit-policy" not in answer.headers
