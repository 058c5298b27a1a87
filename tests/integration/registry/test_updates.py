"""Changing an application: what may be changed, by whom, and what follows from an end."""

from datetime import UTC, datetime, timedelta

from tests.integration.registry.api import Api, problem

EARLY = "2026-01-01T00:00:00Z"
LATER = "2046-01-31T00:00:00Z"


async def test_a_merge_patch_changes_what_it_names(api: Api) -> None:
    """What is absent stays, `null` removes (RFC 7396)."""
    created = await api.create("CI")
    path = f"/api/applications/{created['id']}"

    described = await api.http.patch(
        path,
        json={"description": "Sends the report", "expires_at": "2046-01-31T02:00:00+02:00"},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    renamed = (await api.http.patch(path, json={"name": "Build", "active": False})).json()
    cleared = (await api.http.patch(path, json={"description": None, "expires_at": None})).json()
    same = (await api.http.patch(path, json={})).json()

    assert described.headers["etag"] == '"2"'
    assert (described.json()["expires_at"], described.json()["name"]) == (LATER, "CI")
    assert (renamed["name"], renamed["active"], renamed["version"]) == ("Build", False, 4)
    assert (renamed["description"], renamed["expires_at"]) == ("Sends the report", LATER)
    assert (cleared["description"], cleared["expires_at"]) == ("", None)
    assert same == cleared


async def test_an_update_says_in_the_history_what_changed(api: Api) -> None:
    """Who reads it later must not compare versions."""
    created = await api.create("CI")
    path = f"/api/applications/{created['id']}"
    await api.http.patch(path, json={"description": "Sends the report", "name": "CI"})

    history = (await api.http.get(path + "/events")).json()

    assert history["items"][-1]["type"] == "ApplicationUpdated"
    assert history["items"][-1]["data"]["changed"] == ["description"]


async def test_scopes_that_others_gave_are_kept_but_not_added(api: Api) -> None:
    """A user edits the rest without losing what an administrator added, and gains nothing."""
    created = await api.create("CI", scopes=["applications:read"])
    await api.house.pool.execute(
        "UPDATE registry.applications SET scopes = '{applications:read,events:read}' WHERE id = $1",
        created["id"],
    )
    path = f"/api/applications/{created['id']}"

    kept = await api.http.patch(path, json={"scopes": ["events:read"]})
    again = await api.http.patch(path, json={"scopes": ["applications:read", "events:read"]})

    assert kept.status_code == 200, kept.text
    assert kept.json()["scopes"] == ["events:read"]
    assert again.status_code == 200
    other = await api.create("Other")
    problem(
        await api.http.patch(f"/api/applications/{other['id']}", json={"scopes": ["events:read"]}),
        422,
        "#/scopes/0",
    )


async def test_a_secret_can_have_an_end_of_its_own(api: Api) -> None:
    """From the beginning, or when it is rotated in."""
    answer = await api.http.post(
        "/api/applications", json={"name": "CI", "secret_expires_at": LATER}
    )
    created = answer.json()
    rotated = await api.http.post(
        f"/api/applications/{created['id']}/rotate-secret", json={"expires_at": LATER}
    )
    ahead = datetime.now(UTC) + timedelta(hours=23)

    assert created["secrets"][0]["expires_at"] == LATER
    old, new = rotated.json()["secrets"]
    assert new["expires_at"] == LATER
    assert ahead < datetime.fromisoformat(old["expires_at"]) < datetime.fromisoformat(LATER)


async def test_an_end_in_the_past_is_pointed_at(api: Api) -> None:
    """It is a typing error, or a deactivation by a wrong name."""
    past = "2026-01-01T00:00:00Z"
    for member in ("expires_at", "secret_expires_at"):
        answer = await api.http.post("/api/applications", json={"name": "CI", member: past})
        problem(answer, 422, f"#/{member}")
    problem(
        await api.http.post(
            f"/api/applications/{api.application_id}/rotate-secret", json={"expires_at": past}
        ),
        422,
        "#/expires_at",
    )


async def test_a_token_of_an_application_past_its_end_is_refused(api: Api) -> None:
    """The registry looks at the application at each call."""
    await api.house.pool.execute(
        "UPDATE registry.applications SET expires_at = now() WHERE id = $1", api.application_id
    )

    problem(await api.http.get("/api/applications"), 401)


async def test_lists_are_sorted_and_filtered_over_http(api: Api) -> None:
    """The parameters of the page, in the words of the API."""
    await api.create("Zebra")
    await api.create("apple", active=False)

    async def names(**query: str) -> list[str]:
        answer = await api.http.get("/api/applications", params=query)
        assert answer.status_code == 200, answer.text
        return [one["name"] for one in answer.json()["items"]]

    assert await names() == ["apple", "caller", "Zebra"]
    assert await names(sort="-name") == ["Zebra", "caller", "apple"]
    assert await names(sort="status") == ["caller", "Zebra", "apple"]
    assert await names(sort="-created") == ["apple", "Zebra", "caller"]
    assert await names(status="inactive") == ["apple"]
    assert await names(status="expired") == []
    assert await names(organization=api.house.organization.id, name="EB") == ["Zebra"]
    assert await names(client_id="nobody") == []
    assert await names(last_used_since="2026-01-01T00:00:00Z") == []


async def test_a_filter_that_makes_no_sense_is_named(api: Api) -> None:
    """An empty list would look like an answer."""
    for query, parameter in (
        ("sort=colour", "sort"),
        ("sort=--name", "sort"),
        ("status=on", "status"),
        ("status=active&active=true", "status"),
        (f"last_used_before={EARLY}&last_used_since={LATER}", "last_used_before"),
        ("last_used_before=yesterday", "last_used_before"),
        ("last_used_since=2026-01-01", "last_used_since"),
        ("name=a&name=b", "name"),
        ("organization=x&organization=y", "organization"),
    ):
        document = problem(await api.http.get(f"/api/applications?{query}"), 400)
        assert document["errors"][0]["parameter"] == parameter, query


async def test_a_cursor_from_another_query_is_refused(api: Api) -> None:
    """It would leave out what nobody notices."""
    for name in ("a", "b"):
        await api.create(name)
    page = (await api.http.get("/api/applications?limit=1")).json()

    document = problem(
        await api.http.get(f"/api/applications?sort=created&cursor={page['next_cursor']}"), 400
    )

    assert "another query" in document["detail"]
