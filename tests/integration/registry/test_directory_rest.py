"""`/api/organizations`, `/api/users` and their audit, for an administrator of everything."""

import asyncio
from typing import Any

import jsonschema
import pytest

from tests.integration.registry.administration import UNKNOWN, Administration
from tests.integration.registry.api import Api, problem

MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
USER_MEMBERS = {
    "id",
    "name",
    "email",
    "locale",
    "time_zone",
    "active",
    "administrator",
    "organizations",
    "created_at",
    "version",
}


async def add_ada(at: Administration, **given: Any) -> dict[str, Any]:
    """Add a user and return the answer."""
    body = {"name": "Ada", "email": "ada@example.com", "organizations": ["Example"], **given}
    answer = await at.call("POST", "/api/users", json=body)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_the_life_of_an_organization(administration: Administration) -> None:
    """Each answer is the organization as it is then, with its version as ETag."""
    at = administration
    added = await at.call("POST", "/api/organizations", json={"name": " ACME "})
    path = added.headers["location"]
    renamed = await at.call(
        "PATCH", path, json={"name": "House", "global_access": True}, headers=MERGE_PATCH
    )
    off = await at.call("POST", path + "/disable")
    on = await at.call("POST", path + "/enable")
    shown = await at.call("GET", path)

    assert (added.status_code, added.json()["name"], added.json()["version"]) == (201, "ACME", 1)
    assert (renamed.json()["name"], renamed.json()["global_access"]) == ("House", True)
    assert (off.json()["active"], on.json()["active"]) == (False, True)
    assert shown.json() == on.json()
    assert [one.headers["etag"] for one in (added, renamed, off, on)] == [
        '"1"',
        '"2"',
        '"3"',
        '"4"',
    ]


async def test_the_life_of_a_user(administration: Administration) -> None:
    """From joining the house to leaving it; a password is never told."""
    at = administration
    added = await add_ada(
        at, locale="de", time_zone="Europe/Berlin", password="correct horse battery"
    )
    path = f"/api/users/{added['id']}"
    membership = f"{path}/organizations/{at.elsewhere.id}"

    changed = await at.call("PATCH", path, json={"name": "Augusta"}, headers=MERGE_PATCH)
    joined = await at.call("PUT", membership)
    left = await at.call("DELETE", membership)
    off = await at.call("POST", path + "/disable")
    on = await at.call("POST", path + "/enable")
    shown = await at.call("GET", path)

    assert set(added) == USER_MEMBERS
    assert (added["locale"], added["time_zone"], added["version"]) == ("de", "Europe/Berlin", 1)
    assert changed.json()["name"] == "Augusta"
    assert [one["name"] for one in joined.json()["organizations"]] == ["Elsewhere", "Example"]
    assert (left.status_code, left.content) == (204, b"")
    assert (off.json()["active"], on.json()["active"]) == (False, True)
    assert shown.json() == on.json()
    assert shown.json()["organizations"] == [{"id": at.home.id, "name": "Example"}]
    assert shown.headers["etag"] == '"6"'
    assert "argon2" not in shown.text


async def test_repeats_are_quiet_and_answer_the_same(administration: Administration) -> None:
    """A client that heard no answer asks again; the audit tells what happened, once."""
    at = administration
    path = f"/api/users/{(await add_ada(at))['id']}"
    calls: list[tuple[str, str, Any]] = [
        ("PATCH", path, {"name": "Augusta"}),
        ("PUT", f"{path}/organizations/{at.elsewhere.id}", None),
        ("DELETE", f"{path}/organizations/{at.elsewhere.id}", None),
        ("POST", path + "/disable", None),
        ("POST", path + "/enable", None),
        ("PATCH", f"/api/organizations/{at.elsewhere.id}", {"name": "There"}),
        ("POST", f"/api/organizations/{at.elsewhere.id}/disable", None),
        ("POST", f"/api/organizations/{at.elsewhere.id}/enable", None),
    ]
    for method, where, body in calls:
        first = await at.call(method, where, json=body)
        entries = await at.audit()
        again = await at.call(method, where, json=body)

        assert first.status_code in (200, 204), first.text
        assert (first.status_code, first.content) == (again.status_code, again.content)
        assert await at.audit() == entries


async def test_what_exists_already_is_a_conflict_with_a_pointer(
    administration: Administration,
) -> None:
    """An address however it is written, and under whichever verb."""
    at = administration
    ada = await add_ada(at)
    home = f"/api/organizations/{at.home.id}"
    body = {"name": "Ada", "email": "ADA@example.com", "organizations": ["Example"]}

    problem(await at.call("POST", "/api/organizations", json={"name": "Above"}), 409, "#/name")
    problem(await at.call("PATCH", home, json={"name": "Above"}), 409, "#/name")
    problem(await at.call("POST", "/api/users", json=body), 409, "#/email")
    taken = {"email": "chief@example.com"}
    problem(await at.call("PATCH", f"/api/users/{ada['id']}", json=taken), 409, "#/email")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": " "}, "#/name"),
        ({"name": None}, "#/name"),
        ({"email": "nobody"}, "#/email"),
        ({"locale": "English"}, "#/locale"),
        ({"time_zone": "Mars/Olympus"}, "#/time_zone"),
        ({"time_zone": "../etc/passwd"}, "#/time_zone"),
        ({"organizations": []}, "#/organizations"),
        ({"organizations": ["Nowhere"]}, "#/organizations/0"),
        ({"organizations": ["Example", {"id": UNKNOWN}]}, "#/organizations/1"),
        ({"password": "short"}, "#/password"),
        ({"administrator": "yes"}, "#/administrator"),
        ({"active": False}, "#/active"),
    ],
)
async def test_a_user_who_cannot_be_is_refused_with_a_pointer(
    administration: Administration, body: dict[str, Any], pointer: str
) -> None:
    """And nothing of them is left behind."""
    given = {"name": "Ada", "email": "ada@example.com", "organizations": ["Example"], **body}
    entries = await administration.audit()

    answer = await administration.call("POST", "/api/users", json=given)

    problem(answer, 422, pointer)
    assert "short" not in answer.text
    assert await administration.audit() == entries


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": None}, "#/name"),
        ({"administrator": None}, "#/administrator"),
        ({"password": "correct horse battery"}, "#/password"),
        ({"organizations": []}, "#/organizations"),
        ({"email": "x@y\nz"}, "#/email"),
    ],
)
async def test_a_patch_that_cannot_be_is_refused_with_a_pointer(
    administration: Administration, body: dict[str, Any], pointer: str
) -> None:
    """Null would remove what everybody has; passwords and memberships have doors of their own."""
    path = f"/api/users/{administration.local.id}"

    problem(await administration.call("PATCH", path, json=body), 422, pointer)


async def test_a_change_of_another_version_is_not_made(administration: Administration) -> None:
    """412: somebody else was faster."""
    at = administration
    ada = await add_ada(at)
    user, organization = f"/api/users/{ada['id']}", f"/api/organizations/{at.elsewhere.id}"
    for method, path, body in (
        ("PATCH", user, {"name": "B"}),
        ("POST", user + "/disable", None),
        ("PUT", f"{user}/organizations/{at.elsewhere.id}", None),
        ("DELETE", f"{user}/organizations/{at.elsewhere.id}", None),
        ("PATCH", organization, {"name": "B"}),
        ("POST", organization + "/disable", None),
    ):
        answer = await at.call(method, path, json=body, headers={"If-Match": '"7"'})
        problem(answer, 412)
    kept = await at.call("PATCH", user, json={"name": "B"}, headers={"If-Match": '"1"'})
    assert kept.json()["version"] == 2


async def test_of_concurrent_changes_of_one_version_one_is_made(
    administration: Administration,
) -> None:
    """Also when all of them read it before the first one wrote."""
    at = administration
    path = f"/api/users/{(await add_ada(at))['id']}"

    answers = await asyncio.gather(
        *(
            at.call("PATCH", path, json={"name": f"Ada {n}"}, headers={"If-Match": '"1"'})
            for n in range(5)
        )
    )

    assert sorted(one.status_code for one in answers) == [200] + [412] * 4


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/organizations/{}"),
        ("PATCH", "/api/organizations/{}"),
        ("POST", "/api/organizations/{}/disable"),
        ("GET", "/api/users/{}"),
        ("PATCH", "/api/users/{}"),
        ("POST", "/api/users/{}/enable"),
        ("PUT", "/api/users/{}/organizations/" + UNKNOWN),
        ("DELETE", "/api/users/{}/organizations/" + UNKNOWN),
    ],
)
@pytest.mark.parametrize("reference", [UNKNOWN, "Example", "chief@example.com"])
async def test_what_is_not_there_is_not_found(
    administration: Administration, method: str, path: str, reference: str
) -> None:
    """Names and addresses are not ids: they change hands."""
    body = {"name": "New"} if method == "PATCH" else None

    problem(await administration.call(method, path.format(reference), json=body), 404)


class TestLists:
    async def test_pages_have_everybody_once(self, administration: Administration) -> None:
        """Also those of one name."""
        at = administration
        for number in range(5):
            await at.api.user(f"same{number}@example.com")
            await at.api.house.pool.execute("UPDATE registry.users SET name = 'Same'")
        for path, count in (("/api/users", 8), ("/api/organizations", 3)):
            seen: list[str] = []
            query: dict[str, Any] = {"limit": 2}
            while True:
                page = (await at.call("GET", path, params=query)).json()
                assert len(page["items"]) <= 2
                seen += [one["id"] for one in page["items"]]
                if page["next_cursor"] is None:
                    break
                assert "example.com" not in page["next_cursor"]
                query["cursor"] = page["next_cursor"]

            assert len(seen) == len(set(seen)) == count

    @pytest.mark.parametrize(
        ("path", "names"),
        [
            ("/api/users?name=CHI", ["chief"]),
            ("/api/users?email=Local@", ["local"]),
            ("/api/users?email=%25", []),
            ("/api/users?administrator=true", ["chief", "local"]),
            ("/api/users?active=false", ["gone"]),
            ("/api/users?organization={above}", ["chief"]),
            ("/api/users?organization={above}&administrator=false", []),
            ("/api/organizations?name=eX", ["Example"]),
            ("/api/organizations?global_access=true", ["Above"]),
            ("/api/organizations?active=false", ["Elsewhere"]),
        ],
    )
    async def test_filters(
        self, administration: Administration, path: str, names: list[str]
    ) -> None:
        """A part of a name or address is taken literally."""
        at = administration
        gone = await at.api.user("gone@example.com")
        await at.api.house.directory.set_user_active(gone.id, active=False)
        await at.api.house.directory.set_organization_active(at.elsewhere.id, active=False)

        page = (await at.call("GET", path.format(above=at.above.id))).json()

        assert [one["name"] for one in page["items"]] == names

    async def test_a_cursor_of_another_query_is_refused(
        self, administration: Administration
    ) -> None:
        """It would skip or repeat; and so would one that was made up."""
        at = administration
        cursor = (await at.call("GET", "/api/users?limit=1")).json()["next_cursor"]
        for path in (
            f"/api/users?active=true&cursor={cursor}",
            f"/api/organizations?cursor={cursor}",
            "/api/users?cursor=AAAA",
            "/api/users?cursor=%C3%A4",
            "/api/users?cursor=" + "A" * 33,
        ):
            answer = problem(await at.call("GET", path), 400)
            assert answer["errors"][0]["parameter"] == "cursor"

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=201", "active=maybe", "organization=Example", "colour=red"]
    )
    async def test_a_query_that_makes_no_sense_is_refused(
        self, administration: Administration, query: str
    ) -> None:
        """With the parameter's name."""
        answer = problem(await administration.call("GET", f"/api/users?{query}"), 400)

        assert answer["errors"][0]["parameter"] == query.partition("=")[0]


class TestDisabling:
    async def test_what_a_disabled_user_owns_is_deactivated(
        self, administration: Administration
    ) -> None:
        """In one transaction, by the one who asked; enabling brings nothing back."""
        at = administration
        for number in range(3):
            await at.api.create(f"CI {number}")
        path = f"/api/users/{at.api.house.owner.id}"

        assert (await at.call("POST", path + "/disable")).status_code == 200
        assert (await at.call("POST", path + "/enable")).status_code == 200

        rows = await at.api.house.pool.fetch(
            "SELECT data ->> 'reason' AS reason, metadata ->> 'actor' AS actor, xmin::text AS tx"
            "  FROM registry.events WHERE type = 'ApplicationDeactivated'"
        )
        assert [row["reason"] for row in rows] == ["owner_disabled"] * 4
        assert {row["actor"] for row in rows} == {f"user:{at.chief.id}"}
        assert len({row["tx"] for row in rows}) == 1
        active = await at.api.house.pool.fetchval(
            "SELECT count(*) FROM registry.applications WHERE owner_id = $1 AND active",
            at.api.house.owner.id,
        )
        assert active == 0

    async def test_an_organization_takes_its_applications_along(
        self, administration: Administration
    ) -> None:
        """And with them whoever calls by one."""
        at = administration

        await at.call("POST", f"/api/organizations/{at.home.id}/disable")

        rows = await at.api.house.pool.fetch(
            "SELECT data ->> 'reason' AS reason FROM registry.events"
            " WHERE type = 'ApplicationDeactivated'"
        )
        assert [row["reason"] for row in rows] == ["organization_disabled"] * 2
        problem(await at.call_locally("GET", "/api/users"), 401)

    async def test_disabling_again_finishes_what_a_crash_left(
        self, administration: Administration
    ) -> None:
        """The flag was set, and whoever set it died."""
        at = administration
        await at.api.house.directory.set_user_active(at.api.house.owner.id, active=False)

        await at.call("POST", f"/api/users/{at.api.house.owner.id}/disable")

        types = await at.api.house.pool.fetch("SELECT type FROM registry.events")
        assert [row["type"] for row in types].count("ApplicationDeactivated") == 1


async def test_nobody_leaves_where_they_own_applications(administration: Administration) -> None:
    """They would belong to nobody there; and everybody belongs somewhere."""
    at = administration
    path = f"/api/users/{at.api.house.owner.id}/organizations"
    only = problem(await at.call("DELETE", f"{path}/{at.home.id}"), 409)
    await at.call("PUT", f"{path}/{at.elsewhere.id}")

    owns = problem(await at.call("DELETE", f"{path}/{at.home.id}"), 409)
    await at.api.http.delete(f"/api/applications/{at.api.application_id}")
    gone = await at.call("DELETE", f"{path}/{at.home.id}")

    assert "at least one organization" in only["detail"]
    assert "owns applications" in owns["detail"]
    assert gone.status_code == 204


async def test_what_is_answered_fits_the_document(administration: Administration) -> None:
    """Status, type and shape of each operation; also where the answer is no."""
    at = administration
    described = (await at.call("GET", "/openapi.json")).json()
    body = {"name": "Ada", "email": "ada@example.com", "organizations": ["Example"]}
    calls: list[tuple[str, str, Any, int]] = [
        ("POST", "/api/organizations", {"name": "ACME"}, 201),
        ("POST", "/api/organizations", {"name": "ACME"}, 409),
        ("GET", "/api/organizations", None, 200),
        ("GET", "/api/organizations/{id}", None, 200),
        ("PATCH", "/api/organizations/{id}", {"name": "There"}, 200),
        ("POST", "/api/organizations/{id}/disable", None, 200),
        ("POST", "/api/organizations/{id}/enable", None, 200),
        ("POST", "/api/users", body, 201),
        ("POST", "/api/users", {}, 422),
        ("GET", "/api/users", None, 200),
        ("GET", "/api/users?limit=x", None, 400),
        ("GET", "/api/users/{id}", None, 200),
        ("PATCH", "/api/users/{id}", {"locale": "de"}, 200),
        ("POST", "/api/users/{id}/disable", None, 200),
        ("POST", "/api/users/{id}/enable", None, 200),
        ("PUT", "/api/users/{id}/organizations/{organization_id}", None, 200),
        ("DELETE", "/api/users/{id}/organizations/{organization_id}", None, 204),
        ("GET", "/api/directory/audit", None, 200),
    ]
    for method, path, given, status in calls:
        id_ = at.elsewhere.id if "/organizations/{id}" in path else at.local.id
        answer = await at.call(
            method, path.format(id=id_, organization_id=at.elsewhere.id), json=given
        )

        assert answer.status_code == status, (method, path, answer.text)
        operation = described["paths"][path.partition("?")[0]][method.lower()]
        promised = operation["responses"][str(status)]
        if status != 204:
            ((media_type, content),) = promised["content"].items()
            assert answer.headers["content-type"] == media_type
            schema = {**content["schema"], "components": described["components"]}
            jsonschema.validate(answer.json(), schema)


class TestAudit:
    async def test_it_says_who_did_what_when_and_by_which_client(
        self, administration: Administration
    ) -> None:
        """And pages by `after`, also for one subject."""
        at = administration
        before = (await at.call("GET", "/api/directory/audit?limit=200")).json()["items"]
        ada = await add_ada(at)
        path = f"/api/users/{ada['id']}"
        await at.call("PATCH", path, json={"email": "augusta@example.com"})
        await at.call("POST", path + "/disable")

        after = before[-1]["id"]
        first = (await at.call("GET", f"/api/directory/audit?after={after}&limit=2")).json()
        rest = await at.call("GET", f"/api/directory/audit?after={first['next_cursor']}")
        own = await at.call("GET", f"/api/directory/audit?subject={ada['id']}")

        entries = [*first["items"], *rest.json()["items"]]
        assert own.json()["items"] == entries
        assert [one["action"] for one in entries] == ["user.added", "user.changed", "user.disabled"]
        assert {one["actor"] for one in entries} == {f"user:{at.chief.id}"}
        assert all(one["by"].startswith("client:") for one in entries)
        assert {one["subject"]["id"] for one in entries} == {ada["id"]}
        assert entries[1]["details"] == {"changed": ["email"], "from": {}, "to": {}}
        assert rest.json()["next_cursor"] is None
        assert "augusta" not in own.text

    async def test_what_was_refused_is_not_in_it(self, administration: Administration) -> None:
        """Change and entry are one transaction."""
        at = administration
        entries = await at.audit()
        body = {"name": "X", "email": "chief@example.com", "organizations": ["Example"]}

        await at.call("POST", "/api/users", json=body)
        await at.call("POST", "/api/organizations", json={"name": "Above"})

        assert await at.audit() == entries

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE registry.directory_audit SET actor = 'nobody'",
            "DELETE FROM registry.directory_audit",
            "TRUNCATE registry.directory_audit",
        ],
    )
    async def test_it_is_only_added_to(self, api: Api, statement: str) -> None:
        """Also by whoever has psql open."""
        import asyncpg

        with pytest.raises(asyncpg.RaiseError):
            await api.house.pool.execute(statement)
