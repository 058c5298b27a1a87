"""Bad input: a problem with a pointer, and nothing appended."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.integration.registry.api import Api, api_of, problem
from tests.integration.registry.house import house_in
from tests.support.postgres import Databases

JSON = {"Content-Type": "application/json"}
pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """A running registry for all of these tests: what they send leaves no trace."""
    async with (
        house_in(databases) as house,
        api_of(house, tmp_path_factory.mktemp("registry")) as running,
    ):
        yield running


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"name": "CI"',
        b'{"name": "CI"} x',
        b"{'name': 'CI'}",
        b'\xff{"name": "CI"}',
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b"[" * 50_000,
    ],
)
async def test_what_is_not_json_is_refused(api: Api, content: bytes) -> None:
    """400: there is no member that could be pointed at."""
    head = await api.house.head()

    for method, path in (
        ("POST", "/api/applications"),
        ("PATCH", f"/api/applications/{api.application_id}"),
    ):
        problem(await api.http.request(method, path, content=content, headers=JSON), 400)
    assert await api.house.head() == head


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/name"),
        ({"name": None}, "#/name"),
        ({"name": 7}, "#/name"),
        ({"name": ["CI"]}, "#/name"),
        ({"name": True}, "#/name"),
        ({"name": ""}, "#/name"),
        ({"name": "   "}, "#/name"),
        ({"name": "x" * 256}, "#/name"),
        ({"name": "a\x00b"}, "#/name"),
        ({"name": "a\nb"}, "#/name"),
        ({"name": "a\u202eb"}, "#/name"),
        ({"name": "CI", "colour": "red"}, "#/colour"),
        ({"name": "CI", "client_id": "x" * 32}, "#/client_id"),
        ({"name": "CI", "a/b~c d": 1}, "#/a~1b~0c%20d"),
        ({"name": "CI", "str": 1}, "#/str"),
        ({"name": "CI", "ById": 1}, "#/ById"),
        ({"name": "CI", "active": "yes"}, "#/active"),
        ({"name": "CI", "active": 1}, "#/active"),
        ({"name": "CI", "active": None}, "#/active"),
        ({"name": "CI", "scopes": "applications:read"}, "#/scopes"),
        ({"name": "CI", "scopes": [7]}, "#/scopes/0"),
        ({"name": "CI", "scopes": ["applications:read", "root"]}, "#/scopes/1"),
        ({"name": "CI", "scopes": ["a\x00"]}, "#/scopes/0"),
        ({"name": "CI", "scopes": ["events:read"]}, "#/scopes/0"),
        ({"name": "CI", "scopes": ["applications:read"] * 101}, "#/scopes"),
        ({"name": "CI", "organization": "Nowhere"}, "#/organization"),
        ({"name": "CI", "organization": str(uuid.uuid4())}, "#/organization"),
        ({"name": "CI", "organization": {"id": str(uuid.uuid4())}}, "#/organization"),
        ({"name": "CI", "organization": {"name": "Example"}}, "#/organization/id"),
        ({"name": "CI", "organization": {"id": 7}}, "#/organization/id"),
        ({"name": "CI", "organization": {"id": "x", "size": 7}}, "#/organization/size"),
        ({"name": "CI", "organization": {"id": "x", "str": 7}}, "#/organization/str"),
        ({"name": "CI", "organization": 7}, "#/organization"),
        ({"name": "CI", "organization": ""}, "#/organization"),
        ({"name": "CI", "organization": "a\x00b"}, "#/organization"),
        ({"name": "CI", "organization": {"id": "a\x00b"}}, "#/organization"),
        ({"name": "CI", "owner": "nobody@example.com"}, "#/owner"),
        ({"name": "CI", "owner": str(uuid.uuid4())}, "#/owner"),
        ({"name": "CI", "owner": "a\x00b"}, "#/owner"),
        ({"name": "CI", "owner": {"id": "a\x00b"}}, "#/owner"),
        ({"name": "CI", "owner": ["x"]}, "#/owner"),
        ([], "#"),
        ("CI", "#"),
        (7, "#"),
        (None, "#"),
    ],
)
async def test_a_member_that_does_not_fit_is_pointed_at(api: Api, body: Any, pointer: str) -> None:
    """422, and nothing appended."""
    head = await api.house.head()

    answer = await api.http.post("/api/applications", content=json.dumps(body), headers=JSON)

    problem(answer, 422, pointer)
    assert await api.house.head() == head


async def test_all_wrong_members_are_named_at_once(api: Api) -> None:
    """Nobody likes to be told one at a time."""
    body = {"name": 7, "active": "no", "colour": "red"}

    document = problem(await api.http.post("/api/applications", json=body), 422)

    assert {"#/name", "#/active", "#/colour"} == {one["pointer"] for one in document["errors"]}
    assert all(one["detail"].endswith(".") for one in document["errors"])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": None}, "#/name"),
        ({"name": ""}, "#/name"),
        ({"name": "x" * 256}, "#/name"),
        ({"name": "a\tb"}, "#/name"),
        ({"description": "a\0b"}, "#/description"),
        ({"description": "x" * 2001}, "#/description"),
        ({"active": None}, "#/active"),
        ({"active": "false"}, "#/active"),
        ({"scopes": None}, "#/scopes"),
        ({"scopes": ["none:such"]}, "#/scopes/0"),
        ({"scopes": ["events:read"]}, "#/scopes/0"),
        ({"expires_at": "2026-01-01T00:00:00Z"}, "#/expires_at"),
        ({"expires_at": "2036-01-01T00:00:00"}, "#/expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "#/expires_at"),
        ({"name": "New", "owner": "x"}, "#/owner"),
        ({"name": "New", "version": "1"}, "#/version"),
        ({"name": "New", "version": 0}, "#/version"),
        ({"name": "New", "version": 1.5}, "#/version"),
    ],
)
async def test_a_patch_that_does_not_fit_is_pointed_at(api: Api, body: Any, pointer: str) -> None:
    """What may not be changed says so, and so does what cannot be what it is to become."""
    head = await api.house.head()

    problem(
        await api.http.patch(f"/api/applications/{api.application_id}", json=body), 422, pointer
    )
    assert await api.house.head() == head


async def test_a_version_beyond_all_versions_is_a_conflict(api: Api) -> None:
    """It is a number, and not the present one."""
    body = {"name": "New", "version": 10**30}

    answer = await api.http.patch(f"/api/applications/{api.application_id}", json=body)

    assert answer.status_code in (409, 422)


@pytest.mark.parametrize("id_", ["0", "x", "a" * 400, "%00", NOBODY, "..%2f..", "é", "null"])
@pytest.mark.parametrize(
    ("method", "suffix"),
    [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/activate"), ("GET", "/events")],
)
async def test_an_unknown_id_is_not_found(api: Api, id_: str, method: str, suffix: str) -> None:
    """Whatever stands there."""
    body = {"name": "A"} if method == "PATCH" else None

    problem(await api.http.request(method, f"/api/applications/{id_}{suffix}", json=body), 404)


async def test_an_unknown_address_or_method_is_a_problem_too(api: Api) -> None:
    """Programs read one form of error."""
    problem(await api.http.get("/api/nothing"), 404)
    answer = await api.http.put("/api/applications")
    problem(answer, 405)
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/xml", "multipart/form-data"]
)
async def test_a_body_that_is_not_called_json_is_refused(
    api: Api, content_type: str | None
) -> None:
    """415; a form of a foreign page cannot send JSON by accident."""
    headers = {} if content_type is None else {"Content-Type": content_type}

    problem(await api.http.post("/api/applications", content=b"{}", headers=headers), 415)


async def test_a_charset_does_not_matter_and_a_merge_patch_is_json(api: Api) -> None:
    """RFC 7396 has a name of its own for it."""
    path = f"/api/applications/{api.application_id}"
    for content_type in ("application/json; charset=utf-8", "application/merge-patch+json"):
        answer = await api.http.patch(
            path, content=b'{"name": "caller"}', headers={"Content-Type": content_type}
        )
        assert answer.status_code == 200


async def test_an_oversized_body_is_refused(api: Api) -> None:
    """413, declared or in pieces, before it is parsed."""
    head = await api.house.head()
    content = json.dumps({"name": "x" * api.settings.registry.max_body}).encode()

    async def pieces() -> Any:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    for body in (content, pieces()):
        problem(await api.http.post("/api/applications", content=body, headers=JSON), 413)
    assert await api.house.head() == head


TEXTS = some.one_of(
    some.sampled_from(["CI", "Example", "owner@example.com", "applications:read", "events:read"]),
    some.text(max_size=20),
)
SCALARS = some.one_of(some.none(), some.booleans(), some.integers(), some.floats(), TEXTS)
VALUES = some.recursive(
    SCALARS,
    lambda inner: some.one_of(
        some.lists(inner, max_size=3),
        some.dictionaries(some.sampled_from(["id", "name", "x"]), inner, max_size=3),
    ),
    max_leaves=5,
)
BODIES = some.one_of(
    VALUES,
    some.fixed_dictionaries(
        {"name": TEXTS},
        optional=dict.fromkeys(("organization", "owner", "active", "scopes", "x"), VALUES),
    ),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=BODIES)
async def test_no_body_is_answered_with_a_server_error(api: Api, body: Any) -> None:
    """Whatever comes, it is either appended or a problem of the sender's."""
    head = await api.house.head()

    answer = await api.http.post("/api/applications", content=json.dumps(body), headers=JSON)

    if answer.status_code == 201:
        assert await api.house.head() == head + 1
        return
    assert answer.status_code in (400, 403, 409, 422)
    problem(answer, answer.status_code)
    assert await api.house.head() == head
