"""The use of secrets, as it is reported, kept and shown."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from services.registry.usage import UsageRecords
from shared.service_credential import load
from shared.usage import Failure, FailureReason, UsageReport, Use
from tests.integration.registry.api import Api, problem
from tests.integration.registry.house import House

NOW = datetime.now(UTC)


def used(
    application_id: str, secret_id: str, *, count: int = 1, ago: timedelta = timedelta()
) -> Use:
    """Return what is said of a secret on one day."""
    last = NOW - ago
    return Use(
        application_id=application_id,
        secret_id=secret_id,
        day=last.date(),
        count=count,
        last_used_at=last,
    )


def report(*uses: Use, reporter: str | None = None, sequence: int = 1) -> UsageReport:
    """Return a report; of a process of its own, if nothing else is said."""
    return UsageReport(reporter=reporter or str(uuid.uuid4()), sequence=sequence, uses=list(uses))


async def secret_of(house: House, application_id: str) -> str:
    """Return the id of an application's secret."""
    return str(
        await house.pool.fetchval(
            "SELECT id FROM registry.application_secrets WHERE application_id = $1", application_id
        )
    )


async def test_use_is_added_up_and_shown_everywhere(api: Api) -> None:
    """In the application, its secret, the days, and the order of the list."""
    records = UsageRecords(api.house.pool)
    created = await api.create("CI")
    one, secret = created["id"], created["secrets"][0]["id"]
    await records.take(report(used(one, secret, count=3)))
    await records.take(report(used(one, secret, count=4), used(one, secret, ago=timedelta(days=2))))

    shown = (await api.http.get(f"/api/applications/{one}")).json()
    days = (await api.http.get(f"/api/applications/{one}/usage?days=7")).json()["items"]
    listed = (await api.http.get("/api/applications?sort=-last_used")).json()["items"]

    last = NOW.isoformat().replace("+00:00", "Z")
    assert (shown["last_used_at"], shown["secrets"][0]["last_used_at"]) == (last, last)
    assert [(day["secret_id"], day["count"]) for day in days] == [(secret, 7), (secret, 1)]
    assert [one["name"] for one in listed] == ["CI", "caller"]
    problem(await api.http.get(f"/api/applications/{one}/usage?days=0"), 400)


async def test_a_report_that_comes_again_is_counted_once(api: Api) -> None:
    """Its answer was lost on the way."""
    records = UsageRecords(api.house.pool)
    secret = await secret_of(api.house, api.application_id)
    first = report(used(api.application_id, secret))
    second = report(used(api.application_id, secret), reporter=first.reporter, sequence=2)

    assert [await records.take(one) for one in (first, first, second, first, second)] == [
        True,
        False,
        True,
        False,
        False,
    ]
    (day,) = await records.of(api.application_id, days=1)
    assert day.count == 2


async def test_the_last_use_never_goes_back(api: Api) -> None:
    """Reports of two token services overtake each other."""
    records = UsageRecords(api.house.pool)
    secret = await secret_of(api.house, api.application_id)
    await records.take(report(used(api.application_id, secret)))
    await records.take(report(used(api.application_id, secret, ago=timedelta(days=3))))

    view = await api.house.views.find(api.application_id)

    assert view is not None
    assert (view.last_used_at, view.secrets[0].last_used_at) == (NOW, NOW)


async def test_what_is_gone_is_left_out_and_what_is_old_goes(api: Api) -> None:
    """But for the last day of each secret: since when it is unused is what is asked for."""
    records = UsageRecords(api.house.pool)
    one, secret = api.application_id, await secret_of(api.house, api.application_id)
    old = [used(one, secret, ago=timedelta(days=days)) for days in (100, 110, 120)]
    await records.take(report(*old, used(str(uuid.uuid4()), secret)))

    # Two days, the last one stays; and the hours of all three.
    assert await records.prune(timedelta(days=90)) == 3
    assert await records.prune(timedelta(days=90)) == 0
    (day,) = await records.of(one, days=200)
    assert day.last_used_at == NOW - timedelta(days=100)


async def test_reports_are_taken_from_our_own_services_alone(api: Api, tmp_path: Any) -> None:
    """And a broken one is refused without a trace of half of it."""
    credential = {"Authorization": f"Bearer {load(tmp_path / 'service_credential')}"}
    broken = {"reporter": "x", "sequence": 1, "uses": []}

    problem(await api.http.post("/internal/usage", json=broken), 401)
    problem(await api.http.post("/internal/usage", json=broken, headers=credential), 422)
    problem(await api.http.post("/internal/usage", json=[], headers=credential), 422)


async def test_failures_are_added_up_and_shown_to_who_may_see_the_application(api: Api) -> None:
    """By day and reason, for as long as use is kept; of what is gone, nothing."""
    created = await api.create("CI")
    records = UsageRecords(api.house.pool)

    def failed(reason: FailureReason, count: int, days: int = 0) -> Failure:
        at = NOW - timedelta(days=days)
        return Failure(
            application_id=created["id"], reason=reason, day=at.date(), count=count, last_at=at
        )

    gone = msgspec.structs.replace(failed("unknown_scope", 9), application_id=str(uuid.uuid4()))
    for failures in (
        [failed("wrong_secret", 3), failed("unknown_scope", 1), gone],
        [failed("wrong_secret", 4), failed("wrong_secret", 5, days=100)],
    ):
        await records.take(
            UsageReport(reporter=str(uuid.uuid4()), sequence=1, uses=[], failures=failures)
        )
    path = f"/api/applications/{created['id']}/failures"
    shown = (await api.http.get(path)).json()["items"]
    assert {one["reason"]: one["count"] for one in shown} == {"wrong_secret": 7, "unknown_scope": 1}
    stranger = await api.client_of(await api.user("stranger@example.com"))
    assert (await api.http.get(path, headers=stranger)).status_code == 404
    assert len(await records.failures_of(created["id"], days=200)) == 3
    assert await records.prune(timedelta(days=90)) == 1
    assert len(await records.failures_of(created["id"], days=200)) == 2
