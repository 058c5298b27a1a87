"""Logging in and out, and what a form must carry."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.pages.visitor import (
    PASSWORD,
    Visitor,
    give_password,
    next_of,
    visitor_of,
)
from tests.integration.registry.api import Api, api_of
from tests.integration.registry.house import house_in
from tests.support.postgres import Databases

OWNER = "owner@example.com"
WRONG = "E-mail address or password is wrong."


async def sessions(api: Api) -> int:
    """Return how many there are."""
    count: int = await api.house.pool.fetchval("SELECT count(*) FROM registry.sessions")
    return count


async def test_whoever_is_not_logged_in_is_led_to_it_and_back(stranger: Visitor) -> None:
    """To the page that was asked for, with its filters."""
    asked = await stranger.get("/my-user?name=CI&status=active", 303)
    await stranger.follow(asked)
    answer = await stranger.send(asked.headers["location"], email=f" {OWNER} ", password=PASSWORD)

    assert next_of(asked) == "/my-user?name=CI&status=active"
    assert answer.headers["location"] == "/my-user?name=CI&status=active"


async def test_the_login_says_that_something_is_kept_only_where_it_is(
    olga: Visitor, stranger: Visitor
) -> None:
    """Whoever comes for the first time has typed nothing."""
    await stranger.follow(await stranger.get("/my-user?name=CI", 303))
    assert "Log in to go on." in stranger.page
    assert "What you typed is kept." not in stranger.page

    await olga.get("/my-user/applications/new")
    olga.http.cookies.delete("session")
    await olga.follow(await olga.send("/my-user/applications/new", name="CI"))
    assert "What you typed is kept." in olga.page


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (OWNER, "wrong"),
        (OWNER, ""),
        (OWNER, "\U0001f600" * 2000),
        ("nobody@example.com", PASSWORD),
        ("", PASSWORD),
        ("\x00", "\x00"),
        ("nopassword@example.com", PASSWORD),
        ("disabled@example.com", PASSWORD),
    ],
)
async def test_what_was_wrong_is_not_told(
    api: Api, stranger: Visitor, email: str, password: str
) -> None:
    """Whether an address is known is nobody's business."""
    await api.user("nopassword@example.com")
    disabled = await api.user("disabled@example.com")
    await give_password(api, disabled)
    await api.house.directory.set_user_active(disabled.id, active=False)

    await stranger.get("/login")
    await stranger.send("/login", 401, email=email, password=password)

    assert WRONG in stranger.page
    assert await sessions(api) == 0


async def test_the_cookie_is_for_this_site_alone(api: Api, stranger: Visitor) -> None:
    """No script reads it, no other site sends it with a form, and the database holds its hash."""
    await stranger.get("/login")
    answer = await stranger.send("/login", email=OWNER, password=PASSWORD)

    (cookie,) = [one for one in answer.headers.get_list("set-cookie") if one.startswith("session")]
    assert {"httponly", "samesite=lax", "path=/"} <= set(cookie.lower().split("; "))
    token = stranger.http.cookies["session"]
    rows = await api.house.pool.fetch("SELECT s::text FROM registry.sessions s")
    assert token not in str(rows)
    assert token.encode().hex() not in str(rows)


async def test_behind_tls_the_cookie_travels_over_tls_only(
    databases: Databases, tmp_path: Path
) -> None:
    """And its prefix keeps a neighbour of the host from setting it."""
    async with (
        house_in(databases) as house,
        api_of(house, tmp_path, public_url="https://registry.example") as api,
        visitor_of(api).http as http,
    ):
        await give_password(api, house.owner)
        answer = await http.get("/login")

    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-visitor=")
    assert "; secure" in cookie.lower()


async def test_a_login_begins_another_session(stranger: Visitor) -> None:
    """A cookie that somebody planted before is worth nothing afterwards."""
    stranger.http.cookies.set("session", "planted", domain="registry.example")
    await stranger.log_in(OWNER)

    assert "planted" not in [one.value for one in stranger.http.cookies.jar]


async def test_logging_out_ends_the_session_at_the_server(api: Api, olga: Visitor) -> None:
    """A copy of the cookie is worth nothing any more."""
    token = olga.http.cookies["session"]
    answer = await olga.send("/logout")
    olga.http.cookies.set("session", token, domain="registry.example")

    assert answer.headers["location"] == "/login"
    await olga.get("/my-user", 303)
    assert await sessions(api) == 0


async def test_every_page_leads_out(olga: Visitor) -> None:
    """Whoever has to leave a machine must not look for it."""
    application_id, _, _ = await olga.add("CI")
    one = f"/applications/{application_id}"
    for path in ("/my-user", "/my-user/applications/new", "/my-user/password", one, f"{one}/edit"):
        await olga.get(path)
        assert 'action="/logout"' in olga.page
        assert 'action="/logout-everywhere"' in olga.page


async def test_logging_out_everywhere_ends_all_of_ones_own(api: Api, olga: Visitor) -> None:
    """And nobody else's."""
    other = await api.user("other@example.com")
    await give_password(api, other)
    async with visitor_of(api).http as one, visitor_of(api).http as two:
        elsewhere, others = Visitor(one), Visitor(two)
        await elsewhere.log_in(OWNER)
        await others.log_in("other@example.com")
        await olga.send("/logout-everywhere")

        await elsewhere.get("/my-user", 303)
        await others.get("/my-user")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE registry.users SET active = false",
        "UPDATE registry.users SET password_hash = 'another'",
        "UPDATE registry.sessions SET seen_at = now() - interval '31 min'",
        "UPDATE registry.sessions SET created_at = now() - interval '13 h'",
    ],
    ids=["disabled", "another password", "idle", "too long"],
)
async def test_a_session_ends_by_itself(api: Api, olga: Visitor, change: str) -> None:
    """Whoever is disabled or has another password is out at once."""
    await api.house.pool.execute(change)

    await olga.get("/my-user", 303)


async def test_a_session_that_is_used_goes_on(api: Api, olga: Visitor) -> None:
    """Idle is who does nothing."""
    await api.house.pool.execute("UPDATE registry.sessions SET seen_at = now() - interval '20 min'")
    await olga.get("/my-user")

    seen = await api.house.pool.fetchval("SELECT now() - seen_at < '1 min' FROM registry.sessions")
    assert seen


async def test_too_many_attempts_have_to_wait_whatever_the_password(
    api: Api, stranger: Visitor
) -> None:
    """Otherwise the limit would tell which was right; another account is not concerned."""
    other = await api.user("other@example.com")
    await give_password(api, other)
    await stranger.get("/login")
    for _ in range(10):
        await stranger.send("/login", 401, email=OWNER, password="wrong")
    answer = await stranger.send("/login", 429, email=OWNER.upper(), password=PASSWORD)

    assert int(answer.headers["retry-after"]) >= 1
    assert "Too many attempts" in stranger.page
    await stranger.send("/login", email="other@example.com", password=PASSWORD)


async def guess_until_stopped(visitor: Visitor) -> None:
    """Send wrong passwords; tokens flow in meanwhile, so their number is not told."""
    await visitor.get("/login")
    answers = []
    while 429 not in answers:
        fields = {**visitor.fields, "email": OWNER, "password": "wrong"}
        answers.append((await visitor.http.post("/login", data=fields)).status_code)
    assert set(answers) == {401, 429}
    assert len(answers) > 9


async def test_who_guesses_elsewhere_keeps_nobody_out_where_they_logged_in_before(
    api: Api, stranger: Visitor
) -> None:
    """Otherwise whoever knows an address could keep its owner out. There it is bounded too."""
    transport: Any = api.http._transport
    elsewhere = httpx.ASGITransport(transport.app, client=("192.0.2.9", 1))
    await stranger.log_in(OWNER)
    await stranger.send("/logout")
    async with httpx.AsyncClient(transport=elsewhere, base_url=api.http.base_url) as http:
        await guess_until_stopped(Visitor(http))
    await stranger.log_in(OWNER)
    await stranger.send("/logout")

    await guess_until_stopped(stranger)


async def test_a_form_without_its_proof_changes_nothing(api: Api, olga: Visitor) -> None:
    """Another site can make a browser send a form, but not read what is in ours."""
    application_id, _, _ = await olga.add("CI")
    path = f"/applications/{application_id}/delete"
    await olga.get(path)

    await olga.send(path, 403, proof="")
    assert "Load the page again" in olga.page
    await olga.get(path)
    await olga.send(path, 403, headers={"Sec-Fetch-Site": "cross-site"})
    async with visitor_of(api).http as http:
        other = Visitor(http)
        await other.get("/login")
        await olga.send(path, 403, proof=other.fields["proof"])
        await other.send("/login", 403, email=OWNER, password=PASSWORD, proof="x")

    await olga.get(path)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/my-user\r\nX: y",
        "evil",
        "",
    ],
)
async def test_nobody_is_led_to_another_site(stranger: Visitor, elsewhere: str) -> None:
    """An address in a link is anybody's."""
    await stranger.get("/login", params={"next": elsewhere})
    answer = await stranger.http.post(
        "/login",
        params={"next": elsewhere},
        data={**stranger.fields, "email": OWNER, "password": PASSWORD},
    )

    assert (answer.status_code, answer.headers["location"]) == (303, "/my-user")


async def test_every_page_says_what_a_browser_may_do_with_it(olga: Visitor) -> None:
    """Nothing from elsewhere, nothing inline, in no frame, kept nowhere."""
    application_id, _, _ = await olga.add("CI")
    pages = ["/my-user", "/my-user/applications/new", "/my-user?limit=wrong"]
    pages += [f"/applications/{application_id}{one}" for one in ("", "/edit", "/delete")]
    answers = [await olga.http.get(page) for page in pages]
    answers.append(await olga.http.get("/applications/x"))
    await olga.send("/logout")
    answers.append(await olga.http.get("/login"))
    for answer in answers:
        assert answer.headers["content-type"].startswith("text/html")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        for inline in ("<script>", " style=", " onclick="):
            assert inline not in answer.text


async def test_files_are_kept_by_browsers_until_they_change(stranger: Visitor) -> None:
    """Their address changes with them."""
    await stranger.get("/login")
    for name in ("app.css", "app.js", "icon.svg"):
        (url,) = {word for word in stranger.page.split('"') if word.endswith(name)}
        answer = await stranger.http.get(url)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert (await stranger.http.get(f"/static/000000000000/{name}")).status_code == 404
