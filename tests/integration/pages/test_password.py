"""Changing one's own password."""

import re

import pytest

from tests.integration.pages.visitor import PASSWORD, Visitor, visitor_of
from tests.integration.registry.api import Api

PATH = "/my-user/password"
BETTER = "gift lamp seldom north"
OWNER = "owner@example.com"


async def change(visitor: Visitor, status: int, current: str, new: str, again: str) -> None:
    """Fill in the form, and send it."""
    await visitor.get(PATH)
    await visitor.send(PATH, status, current=current, new=new, again=again)


async def test_whoever_knows_the_password_changes_it(api: Api, olga: Visitor) -> None:
    """This browser goes on, with another session; all others are logged out."""
    async with visitor_of(api).http as http:
        elsewhere = Visitor(http)
        await elsewhere.log_in(OWNER)
        await olga.get("/my-user")
        assert f'href="{PATH}"' in olga.page
        before = olga.http.cookies["session"]
        await change(olga, 303, PASSWORD, BETTER, BETTER)
        await olga.get("/my-user")
        assert "Password changed." in olga.page
        assert olga.http.cookies["session"] != before
        await elsewhere.get("/my-user", 303)
        await elsewhere.get("/login")
        await elsewhere.send("/login", 401, email=OWNER, password=PASSWORD)
        await elsewhere.log_in(OWNER, BETTER)
    audit = await api.house.pool.fetch("SELECT a::text AS entry FROM registry.directory_audit a")
    assert f"user:{api.house.owner.id}" in audit[-1]["entry"]
    assert BETTER not in str(audit)


@pytest.mark.parametrize(
    ("current", "new", "again", "said"),
    [
        ("wrong", BETTER, BETTER, "This is not your password."),
        (PASSWORD, BETTER, BETTER + "x", "The two are not the same."),
        (PASSWORD, PASSWORD, PASSWORD, "This is the password you have."),
        (PASSWORD, "short", "short", "at least 12 characters"),
        (PASSWORD, "password1234", "password1234", "guessed soon"),
        (PASSWORD, "owner@example.com", "owner@example.com", "guessed soon"),
    ],
)
async def test_what_is_wrong_is_told_and_changes_nothing(
    api: Api, olga: Visitor, current: str, new: str, again: str, said: str
) -> None:
    """The session goes on; no password comes back in the page."""
    await change(olga, 422, current, new, again)

    assert said in olga.page
    assert BETTER not in olga.page
    async with visitor_of(api).http as http:
        await Visitor(http).log_in(OWNER)
    await olga.get("/my-user")


async def test_a_stolen_session_guesses_no_password(olga: Visitor) -> None:
    """Attempts are counted here as they are at the login."""
    await olga.get(PATH)
    wrong = {**olga.fields, "current": "wrong", "new": BETTER, "again": BETTER}
    # Until they are stopped: some flow in meanwhile.
    answers = [await olga.http.post(PATH, data=wrong)]
    while answers[-1].status_code != 429:
        answers.append(await olga.http.post(PATH, data=wrong))

    assert {one.status_code for one in answers} == {422, 429}
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert "Too many attempts." in answers[-1].text


async def test_who_signs_in_elsewhere_has_no_password_to_change(api: Api, olga: Visitor) -> None:
    """And is not offered it."""
    await api.house.pool.execute("ALTER TABLE registry.users DISABLE TRIGGER end_sessions")
    await api.house.pool.execute("UPDATE registry.users SET password_hash = NULL")

    await olga.get("/my-user")
    assert PATH not in olga.page
    await olga.get(PATH, 404)


async def test_fields_are_hidden_and_known_to_password_managers(
    olga: Visitor, stranger: Visitor
) -> None:
    """Nothing keeps anybody from pasting, or from letting a program choose."""
    await olga.get(PATH)
    await stranger.get("/login")

    fields = [
        one for page in (olga.page, stranger.page) for one in re.findall("<input[^>]*>", page)
    ]
    secret = [one for one in fields if 'type="password"' in one]
    known = sorted(re.findall(r'autocomplete="([a-z-]+)"', " ".join(fields)))
    assert len(secret) == 4
    assert known == sorted(["username", "current-password"] * 2 + ["new-password"] * 2)
    assert "onpaste" not in olga.page + stranger.page
