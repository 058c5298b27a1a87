"""From where applications obtain tokens: known, listed where it is news, and forgotten."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.registry import addresses
from services.registry.addresses import MOST_A_DAY
from services.registry.usage import UsageRecords
from shared.feed_client import FeedClient, RegistryRefused
from shared.service_credential import load
from shared.usage import AddressSeen, UsageReport
from tests.integration.registry.api import Api, problem, served

NOW = datetime.now(UTC)


async def see(
    api: Api, *places: str, application: str | None = None, ago: timedelta = timedelta()
) -> None:
    """Report that an application, the caller's if none is named, came from some addresses."""
    seen = [
        AddressSeen(
            application_id=application or api.application_id,
            address=one,
            first_seen_at=NOW - ago,
            last_seen_at=NOW - ago,
        )
        for one in places
    ]
    report = UsageReport(reporter=str(uuid.uuid4()), sequence=1, uses=[], addresses=seen)
    assert await UsageRecords(api.house.pool).take(report)


async def listed(api: Api, after: int = 0) -> list[str]:
    """Return the addresses in the list of first uses."""
    return [one.address for one in await addresses.first_uses(api.house.pool, after)]


async def known(api: Api) -> list[str]:
    """Return all addresses that are kept, of whichever application."""
    rows = await api.house.pool.fetch("SELECT address FROM registry.addresses ORDER BY address")
    return [row["address"] for row in rows]


async def test_an_address_is_news_once_and_only_where_others_were_known(api: Api) -> None:
    """Where an application is first heard of, it is at home, be it on several hosts."""
    await see(api, "192.0.2.1", "192.0.2.2")
    assert await listed(api) == []

    await see(api, "192.0.2.1", "192.0.2.3")
    await see(api, "192.0.2.3", "192.0.2.3")
    await see(api, "2001:db8::/64")

    assert await listed(api) == ["192.0.2.3", "2001:db8::/64"]
    first, second = await addresses.first_uses(api.house.pool, 0)
    assert first.application_id == api.application_id
    assert (first.client_id, first.owner_id) == (api.client_id, api.house.owner.id)
    assert (first.organization_id, first.name) == (api.house.organization.id, "caller")
    assert first.seen_at == NOW
    assert await listed(api, first.number) == ["2001:db8::/64"]
    assert await listed(api, second.number) == []


async def test_another_application_is_at_home_elsewhere(api: Api) -> None:
    """What one is known from says nothing of another one of the same owner."""
    await see(api, "192.0.2.1")
    other, _ = await api.application_of(api.house.owner)
    await see(api, "192.0.2.9", application=other)

    assert await listed(api) == []


async def test_an_application_that_comes_from_everywhere_is_told_of_some_times(api: Api) -> None:
    """Whoever gets hundreds of mails reads none; a day later it is news again."""
    await see(api, "192.0.2.1", ago=timedelta(days=3))
    for part in range(2):
        many = [f"198.51.100.{n}" for n in range(part * 9, part * 9 + 9)]
        await see(api, *many, ago=timedelta(days=2))
    assert len(await listed(api)) == MOST_A_DAY

    await see(api, "203.0.113.1")
    assert (await listed(api))[MOST_A_DAY:] == ["203.0.113.1"]


async def test_the_number_of_addresses_is_bounded_and_the_newest_stay(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each application by itself."""
    monkeypatch.setattr(addresses, "MOST_OF_AN_APPLICATION", 3)
    other, _ = await api.application_of(api.house.owner)
    await see(api, "203.0.113.1", application=other, ago=timedelta(days=20))
    for n in range(1, 6):
        await see(api, f"192.0.2.{n}", ago=timedelta(days=10 - n))

    assert await known(api) == ["192.0.2.3", "192.0.2.4", "192.0.2.5", "203.0.113.1"]


async def test_what_is_old_goes_but_for_the_last_of_an_application(api: Api) -> None:
    """Without it, an application that slept would be at home wherever it is stolen to."""
    for n in (1, 2, 3):
        await see(api, f"192.0.2.{n}", ago=timedelta(days=100 - n))
    assert await listed(api) == ["192.0.2.2", "192.0.2.3"]

    assert await addresses.prune(api.house.pool, timedelta(days=90), 1000) == 2
    assert await addresses.prune(api.house.pool, timedelta(days=90), 1000) == 0
    assert (await known(api), await listed(api)) == (["192.0.2.3"], [])
    await see(api, "203.0.113.1")
    assert await listed(api) == ["203.0.113.1"]


async def test_addresses_go_with_the_application_and_do_not_come_back(api: Api) -> None:
    """A token service may report late."""
    gone = (await api.create("CI"))["id"]
    await see(api, "192.0.2.1", application=gone)
    await see(api, "192.0.2.2", application=gone)
    answer = await api.http.delete(f"/api/applications/{gone}", headers={"If-Match": "*"})
    assert answer.status_code == 204, answer.text
    await see(api, "192.0.2.3", application=gone)

    assert (await known(api), await listed(api)) == ([], [])


async def test_nothing_is_kept_of_whose_owner_is_disabled(api: Api) -> None:
    """Or erased, which disables too: a report that comes late would undo it."""
    owner = await api.user("bob@example.com")
    application, _ = await api.application_of(owner)
    await api.house.pool.execute("UPDATE registry.users SET active = false WHERE id = $1", owner.id)
    await see(api, "192.0.2.1", application=application)

    assert await known(api) == []


async def test_the_list_is_read_by_our_own_services_alone(api: Api, tmp_path: Path) -> None:
    """With the epoch of the log, by which a reader knows that numbers begin anew."""
    await see(api, "192.0.2.1")
    await see(api, "192.0.2.2")
    problem(await api.http.get("/internal/first-uses"), 401)
    credential = {"Authorization": f"Bearer {load(tmp_path / 'service_credential')}"}
    problem(await api.http.get("/internal/first-uses?after=x", headers=credential), 400)

    async with served(api) as url:
        async with FeedClient(url, load(tmp_path / "service_credential")) as feed:
            answer = await feed.first_uses(0)
            assert (await feed.head()).log_epoch == answer.log_epoch
        async with FeedClient(url, "x" * 43) as stranger:
            with pytest.raises(RegistryRefused):
                await stranger.first_uses(0)
    assert [one.address for one in answer.items] == ["192.0.2.2"]


async def test_what_is_no_address_is_refused(api: Api, tmp_path: Path) -> None:
    """It would stand in mails."""
    credential = {"Authorization": f"Bearer {load(tmp_path / 'service_credential')}"}
    place = {
        "application_id": api.application_id,
        "address": "call me",
        "first_seen_at": NOW.isoformat(),
        "last_seen_at": NOW.isoformat(),
    }
    report = {"reporter": str(uuid.uuid4()), "sequence": 1, "uses": [], "addresses": [place]}

    problem(await api.http.post("/internal/usage", json=report, headers=credential), 422)
