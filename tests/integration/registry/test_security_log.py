"""What concerns security is logged: who, what and why, and nothing that was presented."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from structlog.testing import capture_logs

from shared.security_log import LONGEST_PATH, path_of
from tests.integration.pages.visitor import PASSWORD, Visitor, give_password, visitor_of
from tests.integration.registry.api import Api, api_of
from tests.integration.registry.house import house_in
from tests.support.postgres import Databases

OWNER = "owner@example.com"


@pytest_asyncio.fixture(name="api")
async def _api(databases: Databases, tmp_path: Path) -> AsyncIterator[Api]:
    async with house_in(databases) as house, api_of(house, tmp_path) as api:
        await give_password(api, house.owner)
        yield api


def told(logged: Any) -> list[tuple[str, ...]]:
    """Return what was logged, with whom and why."""
    return [
        (one["event"], *(str(one[name]) for name in ("user", "reason", "scope") if name in one))
        for one in logged
        if one["log_level"] in ("info", "warning")
    ]


async def test_logging_in_and_out(api: Api) -> None:
    """Whether it worked, and for whom if there is such a user; the address is nobody's business."""
    owner = api.house.owner.id
    async with visitor_of(api).http as http:
        visitor = Visitor(http)
        with capture_logs() as logged:
            await visitor.get("/login")
            await visitor.send("/login", 401, email=OWNER, password="wrong secret")
            await visitor.send("/login", 401, email="nobody@example.com", password=PASSWORD)
            await visitor.send("/login", 303, email=OWNER, password=PASSWORD)
            await visitor.get("/my-user")
            await visitor.send("/logout-everywhere", 303)

    assert told(logged) == [
        ("password refused", owner, "wrong password"),
        ("password refused", "None", "nobody who could log in"),
        ("password accepted", owner),
        ("logged in", owner),
        ("logged out everywhere", owner),
    ]
    for one in (OWNER, "nobody@", PASSWORD, "wrong secret"):
        assert one not in str(logged)


async def test_what_a_page_refuses(api: Api) -> None:
    """A form from elsewhere, a page for administrators, an application of somebody else's."""
    stranger = await api.user("stranger@example.com")
    await give_password(api, stranger)
    async with visitor_of(api).http as http:
        visitor = Visitor(http)
        await visitor.log_in("stranger@example.com")
        with capture_logs() as logged:
            await visitor.send("/logout", 403, headers={"Sec-Fetch-Site": "cross-site"})
            await visitor.get("/system/oauth-applications", 403)
            await visitor.get(f"/applications/{api.application_id}", 404)
            await visitor.get(f"/applications/{api.application_id}/edit", 404)

    assert told(logged) == [
        ("form refused",),
        ("page refused", stranger.id),
        ("application hidden", stranger.id),
        ("application hidden", stranger.id),
    ]


async def test_what_the_api_refuses(api: Api) -> None:
    """A token that is none, one that allows less, rights that are missing."""
    stranger = await api.user("stranger@example.com")
    theirs = await api.client_of(stranger)
    narrow = api.headers(api.client_id, "applications:read")
    with capture_logs() as logged:
        await api.http.get("/api/applications", headers={"Authorization": "Bearer x.y.z"})
        await api.http.delete(f"/api/applications/{api.application_id}", headers=narrow)
        await api.http.get("/api/users", headers=theirs)
        await api.http.get(f"/api/applications/{api.application_id}", headers=theirs)
        await api.http.get("/internal/feed", headers={"Authorization": "Bearer guessed"})

    assert told(logged) == [
        ("access token refused", "DecodeError"),
        ("scope missing", api.house.owner.id, "applications:write"),
        ("request refused", stranger.id, "Only an administrator may do this."),
        ("application hidden", stranger.id),
        ("service credential refused",),
    ]
    assert "x.y.z" not in str(logged)
    assert "guessed" not in str(logged)


def test_a_path_as_long_as_an_attack_is_cut() -> None:
    """A log is no place to fill."""
    assert len(path_of("/" + "x" * 60_000)) == LONGEST_PATH + 1
    assert path_of("/login") == "/login"
