"""`Idempotency-Key`: a POST that is sent again is done once, whatever happened to the first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.registry.app import create_app
from services.registry.event_store import EventStore, OutcomeUnknown, StoreUnavailable
from services.registry.kept_answers import KeptAnswers
from services.registry.ports import Append
from shared.credentials import digest_of
from shared.envelope import Envelope
from tests.integration.registry.administration import Administration
from tests.integration.registry.api import Api, api_of, problem
from tests.integration.registry.house import House
from tests.support.eventually import eventually

KEY = "5f1c7d0a-3b52-4a5e-9c11-0e6d1b7a2f43"
KEYED = {"Idempotency-Key": KEY}
REPLAYED = "idempotency-replayed"


async def post(api: Api, path: str = "", *, key: str = KEY, **request: Any) -> httpx.Response:
    """Send a keyed POST; without a path, the creation of an application."""
    if not path:
        request.setdefault("json", {"name": "CI"})
    headers = {"Idempotency-Key": key, **request.pop("headers", {})}
    return await api.http.post("/api/applications" + path, headers=headers, **request)


async def is_good(api: Api, document: dict[str, Any]) -> bool:
    """Tell whether a secret is one of its application's."""
    digests = await api.house.pool.fetch(
        "SELECT digest FROM registry.application_secrets WHERE application_id = $1",
        document["id"],
    )
    return digest_of(document["client_secret"]) in [row["digest"] for row in digests]


async def end_leases(house: House) -> None:
    """Let the time pass after which a silent process is taken to be dead."""
    await house.pool.execute("UPDATE registry.idempotency_keys SET leased_until = now()")


async def end_keys(house: House) -> None:
    """Let the time pass for which keys are remembered."""
    await house.pool.execute(
        "UPDATE registry.idempotency_keys SET expires_at = now() - interval '1 s'"
    )


async def records(house: House) -> int:
    number: int = await house.pool.fetchval("SELECT count(*) FROM registry.idempotency_keys")
    return number


@asynccontextmanager
async def replica_of(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """Run another registry beside the first, on the same database and credential."""
    app = create_app(api.settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://replica.example",
            headers=api.http.headers,
        ) as http,
    ):
        yield http


async def cut_off(
    monkeypatch: pytest.MonkeyPatch, api: Api, path: str = "", **request: Any
) -> None:
    """Kill whoever works on a request when the log has its command and nobody knows it yet."""
    append, appended = EventStore.append, asyncio.Event()

    async def never_return(store: EventStore, command: Append) -> list[Envelope]:
        await append(store, command)
        appended.set()
        await asyncio.Event().wait()
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(EventStore, "append", never_return)
        task = asyncio.create_task(post(api, path, **request))
        await appended.wait()
        task.cancel()
        await asyncio.wait([task])


class TestReplay:
    async def test_creation_is_done_once_and_answered_the_same_with_its_secret(
        self, api: Api
    ) -> None:
        """The answer may have been lost on its way, and nobody could tell the secret again."""
        first = await post(api)
        head = await api.house.head()
        await api.http.patch(f"/api/applications/{first.json()['id']}", json={"name": "Later"})

        again = await post(api)

        assert (first.status_code, again.status_code) == (201, 201)
        assert again.content == first.content
        assert await is_good(api, again.json())
        for name in ("content-type", "location", "etag", "cache-control"):
            assert again.headers[name] == first.headers[name]
        assert (first.headers.get(REPLAYED), again.headers[REPLAYED]) == (None, "true")
        assert await api.house.head() == head + 1

    @pytest.mark.parametrize(
        "path", ["/activate", "/deactivate", "/rotate-secret", "/revoke-tokens"]
    )
    async def test_so_is_every_other_post(self, api: Api, path: str) -> None:
        """Rotating twice by mistake would end the secret that is in use."""
        created = await api.create()
        path = f"/{created['id']}{path}"

        first = await post(api, path)
        head = await api.house.head()
        again = await post(api, path)

        assert (first.status_code, again.status_code) == (200, 200)
        assert again.content == first.content
        assert again.headers[REPLAYED] == "true"
        assert await api.house.head() == head

    async def test_the_quoted_form_is_the_same_key(self, api: Api) -> None:
        """A client that learns to quote must not do everything twice."""
        first = await post(api)

        assert (await post(api, key=f'"{KEY}"')).content == first.content

    async def test_without_a_key_or_with_another_it_is_another_request(self, api: Api) -> None:
        """A header that is not sent promises nothing."""
        await post(api)

        problem(await post(api, key="another"), 409, "#/name")
        problem(await api.http.post("/api/applications", json={"name": "CI"}), 409, "#/name")

    async def test_a_replay_asks_for_a_good_token_too(self, api: Api) -> None:
        """The key opens nothing by itself."""
        await post(api)

        problem(await post(api, headers={"Authorization": "Bearer junk"}), 401)
        reading = api.headers(api.client_id, "applications:read")
        problem(await post(api, headers=reading), 403)

    async def test_the_directory_is_changed_once_too(self, administration: Administration) -> None:
        """It knows nothing of keys; all of that is done before."""
        request = {"json": {"name": "ACME"}, "headers": KEYED}
        before = len(await administration.audit())

        first = await administration.call("POST", "/api/organizations", **request)
        again = await administration.call("POST", "/api/organizations", **request)

        assert (first.status_code, again.status_code) == (201, 201)
        assert again.content == first.content
        assert again.headers["location"] == first.headers["location"]
        assert len(await administration.audit()) == before + 1


class TestOtherRequests:
    @pytest.mark.parametrize(
        "other",
        [
            {"json": {"name": "Another"}},
            {"json": {"name": "CI"}, "params": {"a": "b"}},
            {"content": b'{"name":"CI"}', "headers": {"Content-Type": "text/json"}},
        ],
    )
    async def test_a_key_with_another_request_is_refused(
        self, api: Api, other: dict[str, Any]
    ) -> None:
        """It is a mistake of the client's, and neither answer would be the right one."""
        await post(api)
        head = await api.house.head()

        assert "another request" in problem(await post(api, **other), 422)["detail"]
        assert await api.house.head() == head

    async def test_also_when_the_path_is_another(self, api: Api) -> None:
        """Keys are the caller's, not the address's."""
        created = await api.create()
        await post(api, f"/{created['id']}/deactivate")

        problem(await post(api, f"/{created['id']}/activate"), 422)

    @pytest.mark.parametrize("key", ["a b", "é".encode(), "", '""', "x" * 256, "a,b"])
    async def test_a_key_of_the_wrong_form_is_refused(self, api: Api, key: Any) -> None:
        """Before anything is done."""
        head = await api.house.head()

        assert "Idempotency-Key" in problem(await post(api, key=key), 400)["detail"]
        assert await api.house.head() == head

    async def test_two_keys_are_refused(self, api: Api) -> None:
        """Which of them would count?"""
        headers = [*api.http.headers.items(), *KEYED.items(), ("Idempotency-Key", "another")]

        answer = await api.http.post("/api/applications", json={"name": "CI"}, headers=headers)

        problem(answer, 400)

    async def test_a_body_that_is_too_large_is_refused(self, api: Api) -> None:
        """Also where no body is expected, since the key covers it."""
        body = b"x" * (api.settings.registry.max_body + 1)

        problem(await post(api, f"/{api.application_id}/activate", content=body), 413)

    async def test_other_methods_do_not_know_the_header(self, api: Api) -> None:
        """PATCH and DELETE have `If-Match`, and deleting again answers the same anyway."""
        created = await api.create()
        path = f"/api/applications/{created['id']}"

        for name in ("A", "B"):
            answer = await api.http.patch(path, json={"name": name}, headers=KEYED)
            assert answer.json()["name"] == name
        assert await records(api.house) == 0


class TestCallers:
    async def test_another_caller_with_the_same_key_makes_a_request_of_its_own(
        self, api: Api
    ) -> None:
        """And never sees what the key meant to somebody else."""
        first = (await post(api)).json()
        another = await api.client_of(await api.user("another@example.com"))

        answer = await post(api, headers=another)
        again = await post(api, headers=another)

        theirs = answer.json()
        assert answer.status_code == 201
        assert {theirs[name] for name in ("id", "client_id", "client_secret")}.isdisjoint(
            {first[name] for name in ("id", "client_id", "client_secret")}
        )
        assert again.content == answer.content

    async def test_another_application_of_the_same_owner_is_another_caller(self, api: Api) -> None:
        """A secret is for the program that asked for it."""
        first = (await post(api)).json()
        sibling = await api.client_of(api.house.owner)

        answer = await post(api, headers=sibling)

        problem(answer, 409, "#/name")
        assert first["client_secret"] not in answer.text

    async def test_nothing_in_the_database_reveals_secret_key_or_caller(self, api: Api) -> None:
        """Who steals a backup has digests, as before."""
        first = await post(api)
        rotated = await post(api, f"/{first.json()['id']}/rotate-secret", key="short")
        tables = await api.house.pool.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'registry'"
        )
        rows = [
            row[0]
            for table in tables
            for row in await api.house.pool.fetch(
                f"SELECT t::text FROM registry.{table['tablename']} t"  # noqa: S608
            )
        ]

        dump = "\n".join(rows)
        for answer in (first, rotated):
            secret = answer.json()["client_secret"]
            assert digest_of(secret) in dump
            for text in (secret, secret[4:30], KEY, "client_secret"):
                assert text not in dump
                assert text.encode().hex() not in dump
        keys = await api.house.pool.fetch("SELECT t::text FROM registry.idempotency_keys t")
        for text in (api.client_id, api.house.owner.id, first.json()["id"], "short"):
            assert all(text.encode().hex() not in row[0] for row in keys)


class TestTime:
    async def test_a_key_past_its_end_is_a_new_one(self, api: Api) -> None:
        """And draws a new secret, not the old one again."""
        created = await api.create()
        path = f"/{created['id']}/rotate-secret"
        request: dict[str, Any] = {"json": {"overlap": 0}}
        first = await post(api, path, **request)
        await end_keys(api.house)

        later = await post(api, path, **request)

        assert REPLAYED not in later.headers
        assert later.json()["client_secret"] != first.json()["client_secret"]
        assert later.json()["version"] == first.json()["version"] + 1
        assert await is_good(api, later.json())
        assert (await post(api, path, **request)).content == later.content

    async def test_what_is_past_its_end_is_removed_in_batches(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing of it is needed any more; and none of the rest is touched."""
        monkeypatch.setattr("services.registry.kept_answers.PRUNE_ROWS", 2)
        for number in range(3):
            await post(api, f"/{api.application_id}/activate", key=f"old {number}".replace(" ", ""))
        await end_keys(api.house)
        await post(api, f"/{api.application_id}/activate", key="new")
        answers = KeptAnswers(api.house.pool, keep=timedelta(days=1))

        assert [await answers.prune() for _ in range(3)] == [2, 1, 0]
        assert await records(api.house) == 1

    async def test_how_long_is_configured(self, house: House, tmp_path: Path) -> None:
        """A day, unless the operator says otherwise."""
        async with api_of(house, tmp_path, idempotency_keep=timedelta(hours=2)) as api:
            await post(api)

        left = await house.pool.fetchval("SELECT expires_at - now() FROM registry.idempotency_keys")
        assert timedelta(hours=1) < left <= timedelta(hours=2)


class TestAtOnce:
    async def test_of_many_at_once_on_two_replicas_one_is_done(self, api: Api) -> None:
        """The others get its answer, or are told to wait for it."""
        head = await api.house.head()
        async with replica_of(api) as replica:

            async def create(http: httpx.AsyncClient) -> httpx.Response:
                return await http.post("/api/applications", json={"name": "CI"}, headers=KEYED)

            answers = await asyncio.gather(
                *(create(http) for http in (api.http, replica) for _ in range(6))
            )
            last = await create(replica)

        assert {one.status_code for one in answers} <= {201, 409}
        assert {one.content for one in answers if one.status_code == 201} == {last.content}
        for one in answers:
            if one.status_code == 409:
                assert "being worked on" in problem(one, 409)["detail"]
                assert int(one.headers["retry-after"]) >= 1
        assert await api.house.head() == head + 1

    async def test_while_the_first_is_being_worked_on_the_second_waits(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """409, as the draft has it; also for a process that died, until its lease ends."""
        await cut_off(monkeypatch, api)
        answer = await post(api)

        problem(answer, 409)
        assert 1 <= int(answer.headers["retry-after"]) <= 30


class TestFaults:
    async def test_a_process_killed_after_the_append_has_not_lost_the_secret(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The retry, at another replica, finds it in the log and draws the secret again."""
        head = await api.house.head()
        await cut_off(monkeypatch, api)
        await end_leases(api.house)
        async with replica_of(api) as replica:
            answer = await replica.post("/api/applications", json={"name": "CI"}, headers=KEYED)
        again = await post(api)

        document = answer.json()
        assert (answer.status_code, answer.headers[REPLAYED]) == (201, "true")
        assert answer.headers["location"] == f"/api/applications/{document['id']}"
        assert answer.headers["cache-control"] == "no-store"
        assert await is_good(api, document)
        assert again.content == answer.content
        assert await api.house.head() == head + 1
        shown = await api.http.get(answer.headers["location"])
        assert {**shown.json(), "client_secret": document["client_secret"]} == document

    @pytest.mark.parametrize("body", [{}, {"overlap": 0}])
    async def test_nor_that_of_a_rotation_whose_version_is_past(
        self, api: Api, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
    ) -> None:
        """Neither `If-Match` nor the secrets that there are now stand in its way."""
        created = await api.create()
        path, first = f"/{created['id']}/rotate-secret", {"If-Match": '"1"'}
        await cut_off(monkeypatch, api, path, headers=first, json=body)
        await end_leases(api.house)

        answer = await post(api, path, headers=first, json=body)

        assert answer.status_code == 200
        assert answer.json()["version"] == 2
        assert await is_good(api, answer.json())
        assert answer.json()["client_secret"] != created["client_secret"]

    async def test_a_process_killed_before_the_append_is_made_up_for(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing was done, so it is done now."""
        reached = asyncio.Event()

        async def never_begin(_store: EventStore, _command: Append) -> list[Envelope]:
            reached.set()
            await asyncio.Event().wait()
            raise AssertionError

        with monkeypatch.context() as patch:
            patch.setattr(EventStore, "append", never_begin)
            task = asyncio.create_task(post(api))
            await reached.wait()
            task.cancel()
            await asyncio.wait([task])
        await end_leases(api.house)

        answer = await post(api)

        assert answer.status_code == 201
        assert REPLAYED not in answer.headers
        assert await is_good(api, answer.json())

    async def test_an_unknown_outcome_is_looked_up(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The commit arrived, its answer did not."""
        append = EventStore.append

        async def lose_the_answer(store: EventStore, command: Append) -> list[Envelope]:
            await append(store, command)
            raise OutcomeUnknown("Postgres was lost at commit")

        with monkeypatch.context() as patch:
            patch.setattr(EventStore, "append", lose_the_answer)
            first = await post(api)
        again = await post(api)

        assert (first.status_code, again.status_code) == (201, 201)
        assert await is_good(api, first.json())
        assert again.content == first.content

    async def test_a_failure_is_not_kept(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """503 means: try again; so the same key must be able to succeed."""

        async def refuse(_store: EventStore, _command: Append) -> list[Envelope]:
            raise StoreUnavailable("Postgres: down")

        with monkeypatch.context() as patch:
            patch.setattr(EventStore, "append", refuse)
            problem(await post(api), 503)

        answer = await post(api)

        assert answer.status_code == 201
        assert (await post(api)).content == answer.content

    async def test_what_takes_longer_than_its_lease_is_given_up(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The next one would begin while the first still works."""

        async def hang(_store: EventStore, _command: Append) -> list[Envelope]:
            await asyncio.Event().wait()
            raise AssertionError

        with monkeypatch.context() as patch:
            patch.setattr(EventStore, "append", hang)
            patch.setattr("services.registry.idempotency.WORK_SECONDS", 0.1)
            problem(await post(api), 503)

        assert (await post(api)).status_code == 201

    async def test_an_answer_that_cannot_be_kept_is_given_all_the_same(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The database went after the commit: the caller has the secret, and a retry too."""

        async def fail(*_: object) -> None:
            raise ConnectionResetError

        with monkeypatch.context() as patch:
            patch.setattr(KeptAnswers, "keep", fail)
            first = await post(api)
        await end_leases(api.house)
        again = await post(api)

        assert first.status_code == 201
        assert again.json() == first.json()

    async def test_a_refusal_is_not_kept_either(self, api: Api) -> None:
        """Nothing was done: the client corrects the body and may use the same key."""
        problem(await post(api, json={"title": "CI"}), 422)
        problem(await post(api, content=b"{"), 415)

        assert (await post(api)).status_code == 201

    async def test_what_was_done_and_undone_since_is_not_done_again(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A late retry must not bring back what somebody deleted."""
        await cut_off(monkeypatch, api)
        await end_leases(api.house)
        listed = (await api.http.get("/api/applications?name=CI")).json()["items"]
        (made,) = [one for one in listed if one["name"] == "CI"]
        await api.http.delete(f"/api/applications/{made['id']}")
        head = await api.house.head()

        for _ in range(2):
            assert "deleted" in problem(await post(api), 409)["detail"]
        assert await api.house.head() == head

    async def test_another_service_credential_ends_all_keys(self, api: Api) -> None:
        """Whoever replaces it makes what is kept unreadable, for everybody."""
        created = await api.create()
        path = f"/{created['id']}/rotate-secret"
        first = await post(api, path, json={"overlap": 0})
        file = api.settings.in_var(api.settings.internal.credential_file)
        file.write_text("another credential, as long as it has to be")

        async with replica_of(api) as replica:
            later = await replica.post(
                f"/api/applications{path}", json={"overlap": 0}, headers=KEYED
            )

        assert later.status_code == 200
        assert REPLAYED not in later.headers
        assert later.json()["client_secret"] != first.json()["client_secret"]

    async def test_an_attempt_that_lost_its_lease_changes_nothing(self, api: Api) -> None:
        """It wakes up late; the record is another's by then."""
        answers = KeptAnswers(api.house.pool, keep=timedelta(days=1))
        slow: Any = await answers.claim(b"i" * 32, b"f")
        await end_leases(api.house)
        fast: Any = await answers.claim(b"i" * 32, b"f")
        await answers.keep(fast, b"answer")

        await answers.keep(slow, b"late")
        await answers.release(slow)
        await answers.forget(slow)

        kept: Any = await answers.claim(b"i" * 32, b"f")
        assert (slow.attempt, fast.attempt, slow.salt) == (1, 2, fast.salt)
        assert kept.sealed == b"answer"


async def test_a_registry_prunes_by_itself(api: Api) -> None:
    """Nobody has to think of it."""
    await post(api)
    await end_keys(api.house)

    async def are_gone() -> bool:
        return await records(api.house) == 0

    async with replica_of(api):
        await eventually(are_gone)
