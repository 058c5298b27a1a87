"""Replacing a secret, ending one, ending tokens: over HTTP, as an owner does it."""

import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.credentials import is_well_formed_secret
from tests.integration.registry.api import Api, problem


async def rotate(api: Api, application_id: str, **body: Any) -> Any:
    """Rotate and return the answer's document."""
    answer = await api.http.post(f"/api/applications/{application_id}/rotate-secret", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def secrets(api: Api, application_id: str) -> list[dict[str, Any]]:
    """Return the secrets that the application is shown with."""
    document = (await api.http.get(f"/api/applications/{application_id}")).json()
    listed: list[dict[str, Any]] = document["secrets"]
    return listed


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_rotation_answers_once_with_the_new_secret_and_keeps_the_old_for_a_day(
    api: Api,
) -> None:
    """The application is changed over without an outage, and the old secret ends by itself."""
    created = await api.create()
    answer = await api.http.post(f"/api/applications/{created['id']}/rotate-secret")

    document = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.headers["etag"] == '"2"'
    assert is_well_formed_secret(document["client_secret"])
    assert document["client_secret"] != created["client_secret"]
    old, new = document["secrets"]
    assert document["client_secret"].endswith(new["hint"])
    assert moment(old["expires_at"]) - moment(new["created_at"]) == timedelta(days=1)
    assert new["expires_at"] is None
    read = (await api.http.get(f"/api/applications/{created['id']}")).json()
    assert document == {**read, "client_secret": document["client_secret"]}


@pytest.mark.parametrize("overlap", [0, "0s"])
async def test_without_overlap_the_old_secret_is_gone(api: Api, overlap: object) -> None:
    """One that leaked must not live another second."""
    created = await api.create()

    document = await rotate(api, created["id"], overlap=overlap)

    (only,) = document["secrets"]
    assert document["client_secret"].endswith(only["hint"])


async def test_a_third_live_secret_is_refused_and_ends_with_one_of_the_two(api: Api) -> None:
    """Who rotates twice in a day would otherwise cut off a part of the application unknowingly."""
    created = await api.create()
    path = f"/api/applications/{created['id']}"
    await rotate(api, created["id"])

    refused = await api.http.post(f"{path}/rotate-secret", json={"overlap": "1h"})
    assert "revoke one" in problem(refused, 409)["detail"]
    first, _ = await secrets(api, created["id"])
    assert (await api.http.delete(f"{path}/secrets/{first['id']}")).status_code == 204
    assert len((await rotate(api, created["id"], overlap="1h"))["secrets"]) == 2
    assert len((await rotate(api, created["id"], overlap=0))["secrets"]) == 1


async def test_a_secret_that_is_not_there_is_not_found(api: Api) -> None:
    """Also one that was revoked before; nothing is appended."""
    created = await api.create()
    (only,) = created["secrets"]
    path = f"/api/applications/{created['id']}/secrets/{only['id']}"

    assert (await api.http.delete(path)).status_code == 204
    assert "no such secret" in problem(await api.http.delete(path), 404)["detail"]
    assert await secrets(api, created["id"]) == []
    assert (await api.http.get(f"/api/applications/{created['id']}")).json()["version"] == 2


@pytest.mark.parametrize(
    "body", [{"overlap": -1}, {"overlap": "91d"}, {"overlap": "soon"}, {"overlap": None, "x": 1}]
)
async def test_a_rotation_that_makes_no_sense_changes_nothing(api: Api, body: object) -> None:
    """422 with the member that is wrong."""
    created = await api.create()
    path = f"/api/applications/{created['id']}"

    answer = await api.http.post(f"{path}/rotate-secret", json=body)

    assert problem(answer, 422)["errors"][0]["pointer"] in ("#/overlap", "#/x")
    assert await secrets(api, created["id"]) == created["secrets"]


async def test_a_rotation_of_another_version_is_not_made(api: Api) -> None:
    """Two administrators who rotate at once must not throw each other's secret away."""
    created = await api.create()

    answer = await api.http.post(
        f"/api/applications/{created['id']}/rotate-secret", headers={"If-Match": '"7"'}
    )

    assert answer.status_code == 412
    assert await secrets(api, created["id"]) == created["secrets"]


async def test_revoked_tokens_are_refused_here_at_once_and_new_ones_are_good(api: Api) -> None:
    """The registry asks its own log, not the token's expiry."""
    _, client_id = await api.application_of(api.house.owner)
    headers = api.headers(client_id)
    listed = (await api.http.get("/api/applications", headers=headers)).json()
    application = next(one for one in listed["items"] if one["client_id"] == client_id)

    revoked = await api.http.post(f"/api/applications/{application['id']}/revoke-tokens")
    refused = await api.http.get("/api/applications", headers=headers)
    later = api.headers(client_id, iat=int(time.time()) + 1)
    accepted = await api.http.get("/api/applications", headers=later)

    assert (revoked.status_code, revoked.json()["version"]) == (200, 2)
    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    assert accepted.status_code == 200


async def test_secrets_and_digests_stay_out_of_the_feed(api: Api) -> None:
    """What is new about a rotation is told with a hint, and nothing else."""
    created = await api.create()
    document = await rotate(api, created["id"])

    history = await api.http.get(f"/api/applications/{created['id']}/events")

    assert document["client_secret"] not in history.text
    assert "digest" not in history.text
    assert [one["type"] for one in history.json()["items"]] == [
        "ApplicationCreated",
        "ApplicationSecretRotated",
    ]
