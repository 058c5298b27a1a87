"""Who may do what in the directory over HTTP, and ways round it that must not be there."""

import asyncio
from typing import Any

import pytest

from services.registry.directory import Organization, User
from tests.integration.registry.administration import UNKNOWN, Administration
from tests.integration.registry.api import Api, problem

DOORS = [
    ("GET", "/api/organizations", None),
    ("POST", "/api/organizations", {"name": "ACME"}),
    ("GET", "/api/organizations/{organization}", None),
    ("PATCH", "/api/organizations/{organization}", {"name": "ACME"}),
    ("POST", "/api/organizations/{organization}/enable", None),
    ("POST", "/api/organizations/{organization}/disable", None),
    ("GET", "/api/users", None),
    ("POST", "/api/users", {"name": "A", "email": "a@b.c", "organizations": ["Example"]}),
    ("GET", "/api/users/{user}", None),
    ("PATCH", "/api/users/{user}", {"name": "A"}),
    ("POST", "/api/users/{user}/enable", None),
    ("POST", "/api/users/{user}/disable", None),
    ("PUT", "/api/users/{user}/organizations/{organization}", None),
    ("DELETE", "/api/users/{user}/organizations/{organization}", None),
    ("GET", "/api/directory/audit", None),
]


@pytest.mark.parametrize(("method", "path", "body"), DOORS)
async def test_every_door_needs_its_scope_and_an_administrator(
    administration: Administration, method: str, path: str, body: Any
) -> None:
    """A token without the scope is told which; a user is refused with every scope there is."""
    at = administration
    where = path.format(user=at.api.house.owner.id, organization=at.home.id)
    scope = "directory:read" if method == "GET" else "directory:write"
    other = "directory:write" if method == "GET" else "directory:read"
    entries = await at.audit()

    _, client_id = await at.api.application_of(at.chief)
    without = await at.call(
        method, where, json=body, headers=at.api.headers(client_id, other, "applications:write")
    )
    as_user = await at.api.http.request(method, where, json=body)

    problem(without, 403)
    assert f'scope="{scope}"' in without.headers["www-authenticate"]
    problem(as_user, 403)
    assert await at.audit() == entries


async def member_of(at: Administration, name: str, *organizations: Organization) -> User:
    """Add a user."""
    return await at.api.user(f"{name}@example.com", organizations=[one.id for one in organizations])


async def test_an_administrator_of_one_organization_sees_it_and_its_members(
    administration: Administration,
) -> None:
    """And of the members' other organizations not even the name."""
    at = administration
    both = await member_of(at, "both", at.home, at.elsewhere)
    away = await member_of(at, "away", at.elsewhere)

    organizations = (await at.call_locally("GET", "/api/organizations")).json()["items"]
    users = (await at.call_locally("GET", "/api/users")).json()["items"]
    shown = await at.call_locally("GET", f"/api/users/{both.id}")

    assert [one["name"] for one in organizations] == ["Example"]
    assert {one["name"] for one in users} == {"both", "local", "Olga Owner"}
    assert shown.json()["organizations"] == [{"id": at.home.id, "name": "Example"}]
    assert "Elsewhere" not in shown.text
    for path in (
        f"/api/users/{away.id}",
        f"/api/users/{at.chief.id}",
        f"/api/organizations/{at.elsewhere.id}",
        f"/api/organizations/{at.above.id}",
    ):
        problem(await at.call_locally("GET", path), 404)
    filtered = await at.call_locally("GET", f"/api/users?organization={at.elsewhere.id}")
    assert [one["name"] for one in filtered.json()["items"]] == ["both"]
    problem(await at.call_locally("GET", "/api/directory/audit"), 403)


async def test_they_manage_whoever_belongs_to_it_alone(administration: Administration) -> None:
    """Name, address, locale, and whether the account works."""
    at = administration
    body = {"name": "New", "email": "new@example.com", "organizations": [at.home.id]}
    added = await at.call_locally("POST", "/api/users", json=body)
    path = f"/api/users/{added.json()['id']}"

    changes = [
        await at.call_locally("PATCH", path, json={"name": "N", "email": "n@example.com"}),
        await at.call_locally("PATCH", path, json={"administrator": False}),
        await at.call_locally("POST", path + "/disable"),
        await at.call_locally("POST", path + "/enable"),
        await at.call_locally("PUT", f"{path}/organizations/{at.home.id}"),
    ]

    assert added.status_code == 201
    assert [one.status_code for one in changes] == [200] * 5
    assert changes[-1].json()["version"] == 4


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/api/users/{both}", {"email": "mine@example.com"}),
        ("POST", "/api/users/{both}/disable", None),
        ("POST", "/api/users/{both}/enable", None),
        # A way to the rights of another administrator, and of oneself.
        ("PATCH", "/api/users/{peer}", {"email": "mine@example.com"}),
        ("POST", "/api/users/{peer}/disable", None),
        ("PATCH", "/api/users/{peer}", {"administrator": False}),
        ("DELETE", "/api/users/{peer}/organizations/{home}", None),
        ("PATCH", "/api/users/{owner}", {"administrator": True}),
        ("PATCH", "/api/users/{local}", {"administrator": False}),
        ("POST", "/api/users/{local}/disable", None),
        ("DELETE", "/api/users/{local}/organizations/{home}", None),
        ("POST", "/api/organizations", {"name": "Mine", "global_access": True}),
        ("PATCH", "/api/organizations/{home}", {"global_access": True}),
        ("PATCH", "/api/organizations/{home}", {"name": "Mine"}),
        ("POST", "/api/organizations/{home}/disable", None),
        ("POST", "/api/organizations/{home}/enable", None),
        (
            "POST",
            "/api/users",
            {
                "name": "A",
                "email": "a@example.com",
                "organizations": ["Example"],
                "administrator": True,
            },
        ),
    ],
)
async def test_what_they_see_and_may_not_do_is_forbidden(
    administration: Administration, method: str, path: str, body: Any
) -> None:
    """No rights beyond their own, for themselves or for anybody."""
    at = administration
    ids = {
        "home": at.home.id,
        "local": at.local.id,
        "owner": at.api.house.owner.id,
        "both": (await member_of(at, "both", at.home, at.elsewhere)).id,
        "peer": (await at.api.user("peer@example.com", administrator=True)).id,
    }
    entries = await at.audit()

    problem(await at.call_locally(method, path.format(**ids), json=body), 403)

    assert await at.audit() == entries


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        # A foreigner drawn into one's own organization could be managed there.
        ("PUT", "/api/users/{away}/organizations/{home}", None),
        ("PUT", "/api/users/{chief}/organizations/{home}", None),
        ("PUT", "/api/users/{owner}/organizations/{elsewhere}", None),
        ("PUT", "/api/users/{local}/organizations/{above}", None),
        ("DELETE", "/api/users/{both}/organizations/{elsewhere}", None),
        ("PATCH", "/api/users/{away}", {"name": "Mine"}),
        ("PATCH", "/api/users/{chief}", {"email": "mine@example.com"}),
        ("POST", "/api/users/{chief}/disable", None),
        ("PATCH", "/api/organizations/{above}", {"global_access": False}),
        ("POST", "/api/organizations/{elsewhere}/disable", None),
    ],
)
async def test_what_they_do_not_see_is_not_there(
    administration: Administration, method: str, path: str, body: Any
) -> None:
    """The same answer as for what really is not there."""
    at = administration
    ids = {
        "home": at.home.id,
        "above": at.above.id,
        "elsewhere": at.elsewhere.id,
        "local": at.local.id,
        "chief": at.chief.id,
        "owner": at.api.house.owner.id,
        "both": (await member_of(at, "both", at.home, at.elsewhere)).id,
        "away": (await member_of(at, "away", at.elsewhere)).id,
    }
    entries = await at.audit()

    answer = await at.call_locally(method, path.format(**ids), json=body)

    problem(answer, 404)
    assert await at.audit() == entries


async def test_nobody_is_added_to_an_organization_that_is_not_theirs(
    administration: Administration,
) -> None:
    """The answer does not tell whether there is one."""
    at = administration
    answers = [
        await at.call_locally(
            "POST",
            "/api/users",
            json={"name": "A", "email": "a@example.com", "organizations": ["Example", one]},
        )
        for one in ("Elsewhere", at.elsewhere.id, "Nowhere", UNKNOWN)
    ]

    first, *others = [problem(one, 422, "#/organizations/1") for one in answers]
    assert all(one == first for one in others)


async def test_ending_a_membership_again_answers_the_same_though_the_user_is_out_of_sight(
    administration: Administration,
) -> None:
    """With the membership went the right to see them."""
    at = administration
    both = await member_of(at, "both", at.home, at.elsewhere)
    path = f"/api/users/{both.id}/organizations/{at.home.id}"

    answers = [await at.call_locally("DELETE", path) for _ in range(2)]

    assert [one.status_code for one in answers] == [204, 204]
    problem(await at.call_locally("GET", f"/api/users/{both.id}"), 404)
    problem(await at.call("DELETE", path.replace(both.id, UNKNOWN)), 404)


async def test_an_application_elsewhere_does_not_carry_its_owners_rights_there(
    administration: Administration,
) -> None:
    """Whoever administers that organization may know more of the application than is good."""
    at = administration
    await at.call("PUT", f"/api/users/{at.chief.id}/organizations/{at.home.id}")
    chief = await at.api.house.directory.user(at.chief.id)
    _, client_id = await at.api.application_of(chief, organization_id=at.home.id)
    as_trojan = at.api.headers(client_id, "directory:read", "directory:write")

    organizations = await at.call("GET", "/api/organizations", headers=as_trojan)
    promotion = await at.call(
        "PATCH", f"/api/users/{at.local.id}", json={"administrator": True}, headers=as_trojan
    )
    grant = await at.call(
        "PATCH",
        f"/api/organizations/{at.home.id}",
        json={"global_access": True},
        headers=as_trojan,
    )

    assert [one["name"] for one in organizations.json()["items"]] == ["Example"]
    problem(promotion, 403)
    problem(grant, 403)
    problem(await at.call("GET", "/api/directory/audit", headers=as_trojan), 403)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/users/{chief}/disable", None),
        ("PATCH", "/api/users/{chief}", {"administrator": False}),
        ("DELETE", "/api/users/{chief}/organizations/{above}", None),
        ("POST", "/api/organizations/{above}/disable", None),
        ("PATCH", "/api/organizations/{above}", {"global_access": False}),
    ],
)
async def test_the_last_who_administers_everything_stays(
    administration: Administration, method: str, path: str, body: Any
) -> None:
    """Nobody could bring them back but an operator."""
    at = administration
    where = path.format(chief=at.chief.id, above=at.above.id)
    await at.api.house.pool.execute(
        "INSERT INTO registry.memberships VALUES ($1, $2)", at.chief.id, at.home.id
    )

    problem(await at.call(method, where, json=body), 403)

    assert (await at.call("GET", "/api/directory/audit")).status_code == 200


async def test_of_two_who_disable_each_other_one_stays(administration: Administration) -> None:
    """Rights are looked at under the lock, not before it."""
    at = administration
    rival = await at.api.user("rival@example.com", organizations=["Above"], administrator=True)
    as_rival = await at.api.client_of(rival)

    answers = await asyncio.gather(
        at.call("POST", f"/api/users/{rival.id}/disable"),
        at.call("POST", f"/api/users/{at.chief.id}/disable", headers=as_rival),
    )

    assert sum(one.status_code == 200 for one in answers) == 1
    assert {one.status_code for one in answers} <= {200, 401, 403}


async def test_rights_end_with_what_they_come_from(administration: Administration) -> None:
    """At the next call, whatever the token says."""
    at = administration
    api: Api = at.api
    assert (await at.call_locally("GET", "/api/users")).status_code == 200

    await at.call("PATCH", f"/api/users/{at.local.id}", json={"administrator": False})

    problem(await at.call_locally("GET", "/api/users"), 403)
    await at.call("POST", f"/api/users/{at.local.id}/disable")
    problem(await at.call_locally("GET", "/api/users"), 401)
    assert api.house.organization.active
