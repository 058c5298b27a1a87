"""The REST API: an application's life, and who may see and do what."""

import asyncio
import json
import re
import uuid
from typing import Any

import jsonschema
import pytest

from services.registry.views import ApplicationViews
from shared.credentials import digest_of, is_well_formed_secret
from tests.integration.registry.api import Api, problem

MEMBERS = {
    "id",
    "client_id",
    "name",
    "organization",
    "owner",
    "active",
    "scopes",
    "created_at",
    "updated_at",
    "last_used_at",
    "description",
    "expires_at",
    "jwks",
    "token_lifetime",
    "secrets",
    "version",
}


class TestLife:
    async def test_creation_answers_with_the_application_and_once_with_its_secret(
        self, api: Api
    ) -> None:
        """Afterwards nobody can be told: there is only the digest."""
        answer = await api.http.post("/api/applications", json={"name": " CI ", "scopes": []})

        document = answer.json()
        assert answer.status_code == 201
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["location"] == f"/api/applications/{document['id']}"
        assert answer.headers["etag"] == '"1"'
        assert answer.headers["cache-control"] == "no-store"
        assert set(document) == {*MEMBERS, "client_secret"}
        assert is_well_formed_secret(document["client_secret"])
        assert document["name"] == "CI"
        assert document["organization"] == {
            "id": api.house.organization.id,
            "name": "Example",
        }
        assert document["owner"] == {"id": api.house.owner.id, "name": "Olga Owner"}
        assert (document["active"], document["scopes"], document["version"]) == (True, [], 1)
        (secret,) = document["secrets"]
        assert set(secret) == {"id", "hint", "created_at", "expires_at", "last_used_at"}
        assert document["client_secret"].endswith(secret["hint"])

    async def test_the_secret_is_stored_as_a_digest_and_shown_nowhere_else(self, api: Api) -> None:
        """Not in the record, the list, the history or the feed."""
        created = await api.create()
        secret, path = created["client_secret"], f"/api/applications/{created['id']}"

        texts = [
            (await api.http.get(address)).text
            for address in (path, "/api/applications", path + "/events", "/api/events")
        ]
        rows = await api.house.pool.fetch("SELECT * FROM registry.events")
        stored = await api.house.pool.fetch("SELECT * FROM registry.application_secrets")

        assert all(created["id"] in text for text in texts)
        assert not any(secret in text for text in [*texts, str(rows), str(stored)])
        assert not any(digest_of(secret) in text for text in texts)
        assert digest_of(secret) in str(stored)

    async def test_an_application_is_renamed_deactivated_activated_and_deleted(
        self, api: Api
    ) -> None:
        """Each answer is the application as it is then, with its version as ETag."""
        created = await api.create()
        path = f"/api/applications/{created['id']}"

        renamed = await api.http.patch(path, json={"name": "Build"})
        off = await api.http.post(path + "/deactivate")
        on = await api.http.post(path + "/activate")
        shown = await api.http.get(path)
        gone = await api.http.delete(path)

        assert renamed.json()["name"] == "Build"
        assert (off.json()["active"], on.json()["active"]) == (False, True)
        assert [one.json()["version"] for one in (renamed, off, on)] == [2, 3, 4]
        assert shown.json() == on.json()
        assert set(shown.json()) == MEMBERS
        assert shown.headers["etag"] == '"4"'
        assert (gone.status_code, gone.content) == (204, b"")
        problem(await api.http.get(path), 404)

    async def test_the_history_is_complete_after_the_end(self, api: Api) -> None:
        """Whoever asks what happened to it asks afterwards."""
        created = await api.create("CI")
        path = f"/api/applications/{created['id']}"
        await api.http.patch(path, json={"name": "Build"})
        await api.http.post(path + "/deactivate")
        await api.http.delete(path)

        history = (await api.http.get(path + "/events")).json()

        assert history["next_cursor"] is None
        assert [(one["type"], one["version"], one["data"]["name"]) for one in history["items"]] == [
            ("ApplicationCreated", 1, "CI"),
            ("ApplicationUpdated", 2, "Build"),
            ("ApplicationDeactivated", 3, "Build"),
            ("ApplicationDeleted", 4, "Build"),
        ]
        assert {f"user:{api.house.owner.id}"} == {one["actor"] for one in history["items"]}
        assert {f"client:{api.client_id}"} == {one["by"] for one in history["items"]}

    async def test_what_follows_from_a_request_is_known_by_its_id(self, api: Api) -> None:
        """Whoever has an answer finds the events, the mails and the lines about them."""
        body, headers = {"name": "CI"}, {"X-Request-Id": "req-1"}
        made = await api.http.post("/api/applications", json=body, headers=headers)
        again = await api.http.post("/api/applications", json=body)
        by_operator, _ = await api.application_of(api.house.owner)

        assert made.headers["X-Request-Id"] == "req-1"
        assert again.json()["request_id"] == again.headers["X-Request-Id"] != "req-1"
        metadata = await _metadata(api, made.json()["id"])
        assert metadata["correlation_id"] == "req-1"
        assert metadata["by"] == f"client:{api.client_id}"
        assert metadata["traceparent"] is None
        metadata = await _metadata(api, by_operator)
        assert metadata["correlation_id"] == metadata["command_id"]
        assert metadata["by"] is None

    async def test_repeats_are_quiet_and_answer_the_same(self, api: Api) -> None:
        """A client that heard no answer asks again."""
        created = await api.create()
        path = f"/api/applications/{created['id']}"
        await api.http.post(path + "/deactivate")
        head = await api.house.head()

        again = await api.http.post(path + "/deactivate")
        same_name = await api.http.patch(path, json={"name": "CI"})

        assert (again.status_code, again.json()["version"]) == (200, 2)
        assert (same_name.status_code, same_name.json()["version"]) == (200, 2)
        assert await api.house.head() == head
        assert [(await api.http.delete(path)).status_code for _ in range(2)] == [204, 204]
        assert await api.house.head() == head + 1

    async def test_a_name_is_free_again_after_the_end(self, api: Api) -> None:
        """But never the Client ID."""
        first = await api.create("CI")
        await api.http.delete(f"/api/applications/{first['id']}")

        second = await api.create("CI")

        assert first["client_id"] != second["client_id"]

    async def test_an_application_may_begin_inactive(self, api: Api) -> None:
        """It is prepared today and used from Monday."""
        assert (await api.create(active=False))["active"] is False

    async def test_owner_and_organization_are_named_in_any_of_their_ways(self, api: Api) -> None:
        """By id, by name or address, or as the representation shows them."""
        owner, organization = api.house.owner, api.house.organization
        bodies: list[dict[str, Any]] = [
            {"owner": owner.id, "organization": organization.id},
            {"owner": owner.email.upper(), "organization": organization.name},
            {"owner": {"id": owner.id, "name": "any"}, "organization": {"id": organization.id}},
            {"owner": None, "organization": None},
        ]
        for index, body in enumerate(bodies):
            created = await api.create(f"CI {index}", **body)
            assert created["owner"]["id"] == owner.id
            assert created["organization"]["id"] == organization.id

    async def test_scopes_default_to_what_is_configured_and_are_kept_once(self, api: Api) -> None:
        """In the order in which they were given."""
        chosen = ["applications:write", "applications:read", "applications:write"]

        assert (await api.create("A"))["scopes"] == ["applications:read"]
        assert (await api.create("B", scopes=chosen))["scopes"] == chosen[:2]

    async def test_concurrent_creations_of_one_name_make_one(self, api: Api) -> None:
        """All the others hear why not."""
        answers = await asyncio.gather(
            *(api.http.post("/api/applications", json={"name": "CI"}) for _ in range(8))
        )

        assert sorted(one.status_code for one in answers) == [201] + [409] * 7


class TestVersions:
    @pytest.mark.parametrize("etag", ['"1"', 'W/"1"', '"7", "1"', "*"])
    async def test_a_change_of_the_version_that_was_read_is_made(self, api: Api, etag: str) -> None:
        """`If-Match` as the answer gave it, or whichever there is."""
        path = f"/api/applications/{(await api.create())['id']}"

        answer = await api.http.post(path + "/deactivate", headers={"If-Match": etag})

        assert answer.status_code == 200

    @pytest.mark.parametrize(
        ("method", "suffix", "body"),
        [
            ("PATCH", "", {"name": "New"}),
            ("POST", "/deactivate", None),
            ("POST", "/activate", None),
            ("DELETE", "", None),
        ],
    )
    async def test_a_change_of_another_version_is_not_made(
        self, api: Api, method: str, suffix: str, body: Any
    ) -> None:
        """412: somebody else was faster, or never gave out such a version."""
        created = await api.create()
        head = await api.house.head()

        for etag in ('"2"', '"0"', '"x"', "1", '""', '"2", "3"', ',"99999999999999999999"'):
            answer = await api.http.request(
                method,
                f"/api/applications/{created['id']}{suffix}",
                json=body,
                headers={"If-Match": etag},
            )
            problem(answer, 412)
        assert await api.house.head() == head

    async def test_a_body_with_another_version_is_a_conflict(self, api: Api) -> None:
        """409: the version is part of what was sent, not a condition on it."""
        path = f"/api/applications/{(await api.create())['id']}"

        problem(await api.http.patch(path, json={"name": "New", "version": 2}), 409)
        assert (await api.http.patch(path, json={"name": "New", "version": 1})).status_code == 200


class TestWho:
    async def test_without_a_token_there_is_a_challenge_and_no_error_code(self, api: Api) -> None:
        """RFC 6750, section 3."""
        answer = await api.http.get("/api/applications", headers={"Authorization": ""})

        problem(answer, 401)
        assert answer.headers["www-authenticate"] == 'Bearer realm="oauthapps"'

    @pytest.mark.parametrize("authorization", ["Bearer", "Bearer ", "Basic eDp5", "x", "bearer\t"])
    async def test_what_is_no_bearer_token_is_asked_for_one(
        self, api: Api, authorization: str
    ) -> None:
        """Also half a header."""
        problem(
            await api.http.get("/api/applications", headers={"Authorization": authorization}), 401
        )

    async def test_a_token_that_is_not_accepted_is_invalid(self, api: Api) -> None:
        """RFC 6750, section 3.1; the reason is for the log."""
        tokens = [
            "junk",
            "a.b.c",
            api.issuer.token("unknown" * 4 + "abcd"),
            api.issuer.token(api.client_id, exp=1),
            api.issuer.token(api.client_id, aud="https://elsewhere.example"),
        ]
        for token in tokens:
            headers = {"Authorization": f"Bearer {token}"}
            answer = await api.http.get("/api/applications", headers=headers)
            problem(answer, 401)
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]

    @pytest.mark.parametrize(
        ("method", "path", "scope"),
        [
            ("GET", "/api/applications", "applications:read"),
            ("POST", "/api/applications", "applications:write"),
            ("GET", "/api/applications/{id}", "applications:read"),
            ("PATCH", "/api/applications/{id}", "applications:write"),
            ("DELETE", "/api/applications/{id}", "applications:write"),
            ("POST", "/api/applications/{id}/activate", "applications:write"),
            ("POST", "/api/applications/{id}/deactivate", "applications:write"),
            ("GET", "/api/applications/{id}/events", "applications:read"),
            ("GET", "/api/events", "events:read"),
        ],
    )
    async def test_every_door_needs_its_scope(
        self, api: Api, method: str, path: str, scope: str
    ) -> None:
        """And all the others together do not open it."""
        others = {"applications:read", "applications:write", "events:read"} - {scope}
        head = await api.house.head()

        answer = await api.http.request(
            method,
            path.format(id=api.application_id),
            headers=api.headers(api.client_id, *others),
        )

        problem(answer, 403)
        assert f'error="insufficient_scope", scope="{scope}"' in answer.headers["www-authenticate"]
        assert await api.house.head() == head

    async def test_a_token_ends_with_its_application_at_once(self, api: Api) -> None:
        """The registry knows before the token has run out."""
        application_id, client_id = await api.application_of(api.house.owner)
        headers = api.headers(client_id)
        assert (await api.http.get("/api/applications", headers=headers)).status_code == 200

        await api.http.post(f"/api/applications/{application_id}/deactivate")
        problem(await api.http.get("/api/applications", headers=headers), 401)
        await api.http.post(f"/api/applications/{application_id}/activate")
        assert (await api.http.get("/api/applications", headers=headers)).status_code == 200
        await api.http.delete(f"/api/applications/{application_id}")
        problem(await api.http.get("/api/applications", headers=headers), 401)

    async def test_a_token_ends_with_its_owner(self, api: Api) -> None:
        """Somebody who left can do nothing through a program either."""
        await api.house.directory.set_user_active(api.house.owner.id, active=False)

        problem(await api.http.get("/api/applications"), 401)

    async def test_without_keys_it_says_the_sentence(self, api: Api) -> None:
        """Word for word, as the pages do."""
        api.issuer.keys.clear()

        answer = await api.http.get("/api/applications")

        assert problem(answer, 503)["detail"] == (
            "OAuth authorization is not available as encryption keys configuration was not "
            "complete. Please contact your administrator."
        )

    async def test_while_keys_cannot_be_read_it_says_try_again(self, api: Api) -> None:
        """The token service is starting; that is nobody's mistake."""
        api.issuer.broken = True

        answer = await api.http.get("/api/applications")

        problem(answer, 503)
        assert answer.headers["retry-after"] == "1"


class TestSomebodyElse:
    @pytest.mark.parametrize(
        ("method", "suffix"),
        [
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/activate"),
            ("POST", "/deactivate"),
            ("GET", "/events"),
        ],
    )
    async def test_somebody_elses_application_does_not_exist(
        self, api: Api, method: str, suffix: str
    ) -> None:
        """Not even as something that may not be touched; the answers are the same to the letter."""
        created = await api.create()
        stranger = await api.client_of(await api.user("stranger@example.com"))
        head = await api.house.head()

        answers = [
            await api.http.request(
                method,
                f"/api/applications/{id_}{suffix}",
                headers=stranger,
                json={"name": "Mine"} if method == "PATCH" else None,
            )
            for id_ in (created["id"], uuid.uuid4())
        ]

        assert problem(answers[0], 404) == problem(answers[1], 404)
        assert await api.house.head() == head

    async def test_a_list_shows_ones_own(self, api: Api) -> None:
        """And nothing of anybody else, whatever is asked for."""
        await api.create("Mine")
        user = await api.user("stranger@example.com")
        stranger = await api.client_of(user, name="Theirs")

        for query in ("", f"?owner={api.house.owner.id}", "?name=Mine"):
            answer = await api.http.get(f"/api/applications{query}", headers=stranger)
            assert {"Theirs"} >= {one["name"] for one in answer.json()["items"]}

    async def test_a_user_creates_for_nobody_else(self, api: Api) -> None:
        """Not even in the same organization."""
        other = await api.user("other@example.com")
        head = await api.house.head()

        problem(
            await api.http.post("/api/applications", json={"name": "A", "owner": other.id}), 403
        )
        assert await api.house.head() == head

    async def test_an_administrator_manages_the_applications_of_the_organization(
        self, api: Api
    ) -> None:
        """And creates for its members."""
        created = await api.create()
        admin = await api.client_of(await api.user("admin@example.com", administrator=True))

        off = await api.http.post(f"/api/applications/{created['id']}/deactivate", headers=admin)
        made = await api.http.post(
            "/api/applications", json={"name": "B", "owner": "owner@example.com"}, headers=admin
        )

        assert off.status_code == 200
        assert made.json()["owner"]["id"] == api.house.owner.id

    async def test_an_administrator_elsewhere_sees_nothing(self, api: Api) -> None:
        """Organizations are walls."""
        created = await api.create()
        elsewhere = await api.house.directory.add_organization("Elsewhere")
        admin = await api.client_of(
            await api.user("a@example.com", administrator=True, organizations=[elsewhere.id])
        )

        problem(await api.http.get(f"/api/applications/{created['id']}", headers=admin), 404)
        listed = await api.http.get("/api/applications", headers=admin)
        assert created["id"] not in listed.text

    async def test_global_access_opens_every_organization_to_an_administrator_only(
        self, api: Api
    ) -> None:
        """A user in it is a user."""
        created = await api.create()
        above = await api.house.directory.add_organization("Above", global_access=True)
        admin = await api.client_of(
            await api.user("a@example.com", administrator=True, organizations=[above.id])
        )
        user = await api.client_of(await api.user("u@example.com", organizations=[above.id]))
        path = f"/api/applications/{created['id']}"

        assert (await api.http.get(path, headers=admin)).status_code == 200
        problem(await api.http.get(path, headers=user), 404)

    async def test_an_administrator_gets_no_secret_of_a_superior(self, api: Api) -> None:
        """By it the local one would act with global access."""
        above = await api.house.directory.add_organization("Above", global_access=True)
        chief = await api.user(
            "chief@example.com",
            administrator=True,
            organizations=[above.id, api.house.organization.id],
        )
        home = api.house.organization.id
        application_id, _ = await api.application_of(chief, organization_id=home)
        local = await api.client_of(await api.user("local@example.com", administrator=True))
        path = f"/api/applications/{application_id}"

        assert (await api.http.get(path, headers=local)).status_code == 200
        problem(await api.http.post(path + "/rotate-secret", headers=local), 403)
        body = {"name": "Mine", "owner": chief.id, "organization": home}
        problem(await api.http.post("/api/applications", json=body, headers=local), 403)

    async def test_the_organization_one_is_at_work_in_is_meant(self, api: Api) -> None:
        """Of several; with global access it could be any, and has to be named."""
        home = api.house.organization
        for name, is_global in (("Plain", False), ("Above", True)):
            other = await api.house.directory.add_organization(name, global_access=is_global)
            user = await api.user(f"{name}@example.com", organizations=[home.id, other.id])
            _, client_id = await api.application_of(user, organization_id=other.id)
            headers = api.headers(client_id)

            answer = await api.http.post("/api/applications", json={"name": "A"}, headers=headers)

            if is_global:
                problem(answer, 422, "#/organization")
            else:
                assert answer.json()["organization"] == {"id": other.id, "name": name}
            named = {"name": "B", "organization": "Example"}
            answer = await api.http.post("/api/applications", json=named, headers=headers)
            assert answer.json()["organization"]["id"] == home.id


class TestMatrix:
    """Who may do what: the table of docs/security.md, through the door."""

    ACTIONS = (
        ("GET", "", None),
        ("GET", "/events", None),
        ("PATCH", "", {"description": "x"}),
        ("POST", "/deactivate", None),
        ("POST", "/activate", None),
        ("POST", "/revoke-tokens", None),
        ("POST", "/rotate-secret", {"overlap": 0}),
        ("DELETE", "/secrets/00000000-0000-4000-8000-000000000000", None),
        ("DELETE", "", None),
    )

    @pytest.mark.parametrize("role", ["user", "administrator", "administrator of all"])
    async def test_what_a_role_may_do_to_whose_application(self, api: Api, role: str) -> None:
        """What is not theirs is not there; creating it is refused."""
        directory, home = api.house.directory, api.house.organization
        above = await directory.add_organization("Above", global_access=True)
        away = await directory.add_organization("Away")
        organizations = [home.id, above.id] if role == "administrator of all" else [home.id]
        me = await api.user(
            "me@example.com", administrator=role != "user", organizations=organizations
        )
        neighbour = await api.user("neighbour@example.com", organizations=[home.id])
        stranger = await api.user("stranger@example.com", organizations=[away.id])
        headers = await api.client_of(me)
        allowed = {
            me: True,
            neighbour: role != "user",
            stranger: role == "administrator of all",
        }

        for owner, is_allowed in allowed.items():
            place = owner.organizations[-1] if owner is stranger else home
            target, _ = await api.application_of(owner, organization_id=place.id)
            listed = await api.http.get("/api/applications?limit=200", headers=headers)
            assert is_allowed == (target in [one["id"] for one in listed.json()["items"]])
            for method, suffix, body in self.ACTIONS:
                answer = await api.http.request(
                    method, f"/api/applications/{target}{suffix}", json=body, headers=headers
                )
                if "/secrets/" in suffix and is_allowed:
                    assert "secret" in problem(answer, 404)["detail"]
                elif is_allowed:
                    assert answer.status_code in (200, 204), (owner.email, suffix, answer.text)
                else:
                    assert problem(answer, 404)["detail"] == "There is no such application."
            made = await api.http.post(
                "/api/applications",
                json={"name": "Made", "owner": owner.id, "organization": place.id},
                headers=headers,
            )
            assert made.status_code == (201 if is_allowed else 403), (owner.email, made.text)


class TestLists:
    async def test_pages_follow_each_other_until_there_is_none(self, api: Api) -> None:
        """By name, each once; equal beginnings do not confuse it."""
        names = sorted(["a", "a b", "B", "b", "ä", "z"])
        for name in names:
            await api.create(name)

        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            query: dict[str, Any] = {"limit": 2, "cursor": cursor}
            page = (await api.http.get("/api/applications", params=query)).json()
            seen += [one["name"] for one in page["items"]]
            cursor = page["next_cursor"]

        assert sorted([*names, "caller"]) == sorted(seen)
        assert len(seen) == len(set(seen))

    async def test_filters_narrow_it(self, api: Api) -> None:
        """A part of the name, taken literally, and whether it is active."""
        await api.create("100% CI")
        await api.create("1000 CI", active=False)

        async def names(**query: str) -> list[str]:
            answer = await api.http.get("/api/applications", params=query)
            return [one["name"] for one in answer.json()["items"]]

        assert await names(name="0% c") == ["100% CI"]
        assert await names(name="_") == []
        assert await names(active="false") == ["1000 CI"]
        assert await names(owner=str(uuid.uuid4())) == []

    @pytest.mark.parametrize(
        ("query", "parameter"),
        [
            ({"limit": "0"}, "limit"),
            ({"limit": "201"}, "limit"),
            ({"limit": "many"}, "limit"),
            ({"limit": "-1"}, "limit"),
            ({"limit": "٣"}, "limit"),
            ({"cursor": "x"}, "cursor"),
            ({"cursor": "é"}, "cursor"),
            (
                {"cursor": "WyJhXHUwMDAwIiwiYWFhYWFhYWEtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAxIl0"},
                "cursor",
            ),
            ({"active": "yes"}, "active"),
            ({"owner": "me"}, "owner"),
            ({"organization": "\0"}, "organization"),
            ({"name": "a\0"}, "name"),
            ({"name": "a" * 256}, "name"),
            ({"colour": "red"}, "colour"),
        ],
    )
    async def test_a_wrong_parameter_is_named(
        self, api: Api, query: dict[str, str], parameter: str
    ) -> None:
        """A filter that is not understood must not be passed over."""
        document = problem(await api.http.get("/api/applications", params=query), 400)

        assert [parameter] == [one["parameter"] for one in document["errors"]]


class TestFeed:
    async def test_the_public_feed_is_a_batch_of_cloudevents(self, api: Api) -> None:
        """With history and head beside it, and nothing private."""
        await api.create()

        answer = await api.http.get("/api/events", params={"after": 1})

        (event,) = answer.json()
        assert answer.headers["content-type"] == "application/cloudevents-batch+json"
        assert event["type"] == "oauthapps.ApplicationCreated.v1"
        assert (event["sequence"], answer.headers["log-head"]) == (2, "2")
        assert event["logepoch"] == answer.headers["log-epoch"]
        assert not re.search("digest|metadata|actor|@", answer.text)

    @pytest.mark.parametrize(
        "query",
        [
            {"after": "-1"},
            {"after": "x"},
            {"after": "99999999999999999999"},
            {"limit": "0"},
            {"limit": "1001"},
            {"wait": "31"},
            {"wait": "nan"},
            {"wait": "-1"},
            {"from": "1"},
        ],
    )
    async def test_a_wrong_parameter_is_named(self, api: Api, query: dict[str, str]) -> None:
        """The same manner everywhere."""
        document = problem(await api.http.get("/api/events", params=query), 400)

        assert list(query) == [one["parameter"] for one in document["errors"]]

    async def test_the_public_feed_waits(self, api: Api) -> None:
        """A subscriber without RabbitMQ hears at once all the same."""
        waiting = asyncio.create_task(api.http.get("/api/events", params={"after": 1, "wait": 20}))
        await asyncio.sleep(0)
        await api.create()

        async with asyncio.timeout(10):
            assert len((await waiting).json()) == 1


async def test_events_are_described_for_machines(api: Api) -> None:
    """Without a token, and a published event fits the schema that the registry gives."""
    await api.create()
    event = (await api.http.get("/api/events")).json()[-1]
    document = await api.http.get("/asyncapi.json", headers={"Authorization": ""})
    schema = await api.http.get(f"/schemas/{event['type']}.json", headers={"Authorization": ""})

    assert document.json()["asyncapi"] == "3.0.0"
    assert schema.headers["content-type"] == "application/schema+json"
    jsonschema.validate(event, schema.json())
    unknown = await api.http.get("/schemas/oauthapps.Nothing.v1.json")
    assert "oauthapps.ApplicationCreated.v1" in problem(unknown, 404)["detail"]


async def test_readiness_says_what_is_wrong_in_words(api: Api) -> None:
    """An operator can act on it."""
    well = {"database": "ok", "secrets": "ok", "clock": "ok"}
    assert (await api.http.get("/readyz")).json() == {"ready": True, "checks": well}
    await api.house.pool.execute("DELETE FROM registry.migrations WHERE number > 1")

    answer = await api.http.get("/readyz")

    assert answer.status_code == 503
    assert "run `oauthapps migrate`" in answer.json()["checks"]["database"]


async def test_a_database_that_goes_after_the_append_does_not_take_the_secret_along(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It exists by then; told to try again, its owner would only find the name taken."""

    async def find(*_: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as broken:
        broken.setattr(ApplicationViews, "find", find)
        created = await api.create(scopes=["applications:read"])
    secret = created.pop("client_secret")

    assert secret
    assert created == (await api.http.get(f"/api/applications/{created['id']}")).json()


async def _metadata(api: Api, application_id: str) -> dict[str, Any]:
    """Return what the log knows of an application's first event, besides the event."""
    statement = "SELECT metadata FROM registry.events WHERE stream = $1::text::uuid AND version = 1"
    found: dict[str, Any] = json.loads(await api.house.pool.fetchval(statement, application_id))
    return found
