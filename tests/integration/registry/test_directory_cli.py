"""`oauthapps organizations | users`, as an operator types them."""

import pytest
from argon2 import PasswordHasher

from tests.integration.registry.house import House
from tests.integration.registry.test_cli import printed, refusal


async def test_the_life_of_an_organization(house: House) -> None:
    """By its name, also the new one."""
    added = await printed(house, "organizations", "add", "ACME")
    renamed = await printed(house, "organizations", "rename", "ACME", "House")
    granted = await printed(house, "organizations", "grant-global-access", "House")
    again = await printed(house, "organizations", "grant-global-access", added["id"])
    revoked = await printed(house, "organizations", "revoke-global-access", "House")

    assert renamed["name"] == "House"
    assert granted == again
    assert (granted["global_access"], revoked["global_access"]) == (True, False)
    assert await printed(house, "organizations", "show", "House") == revoked
    assert revoked["version"] == 4


async def test_the_life_of_a_user(house: House) -> None:
    """Everything that the REST API can do, and a password."""
    await house.directory.add_organization("ACME")
    ada = ("ada@example.com",)
    await printed(house, "users", "add", *ada, "--name", "Ada", "--organization", "Example")
    joined = await printed(house, "users", "join", *ada, "ACME")
    left = await printed(house, "users", "leave", *ada, "Example")
    named = ("--name", "Augusta", "--administrator", "--locale", "de", "--time-zone", "Asia/Tokyo")
    changed = await printed(house, "users", "update", *ada, *named)
    moved = await printed(
        house, "users", "update", *ada, "--email", "augusta@example.com", "--no-administrator"
    )
    shown = await printed(house, "users", "show", "augusta@example.com")

    assert [one["name"] for one in joined["organizations"]] == ["ACME", "Example"]
    assert [one["name"] for one in left["organizations"]] == ["ACME"]
    assert (changed["name"], changed["administrator"], changed["locale"]) == ("Augusta", True, "de")
    assert (joined["time_zone"], changed["time_zone"]) == ("UTC", "Asia/Tokyo")
    assert (moved["email"], moved["administrator"]) == ("augusta@example.com", False)
    assert shown == moved
    assert "at least one" in await refusal(house, "users", "leave", shown["id"], "ACME")


async def test_a_password_is_given_or_made_and_kept_as_a_hash(house: House) -> None:
    """One that was made is printed this once."""
    email = "owner@example.com"
    made = await printed(house, "users", "set-password", email)
    hashed = await house.pool.fetchval("SELECT password_hash FROM registry.users")
    given = await printed(
        house, "users", "set-password", email, "--password-stdin", given="correct horse battery\n"
    )

    assert PasswordHasher().verify(hashed, made["password"])
    assert "password" not in given
    assert "at least 12" in await refusal(house, "users", "set-password", email, "--password-stdin")
    details = await house.pool.fetch(
        "SELECT details::text FROM registry.directory_audit WHERE action = 'user.changed'"
    )
    assert len(details) == 2
    assert "argon2" not in str(details)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("users", "show", "nobody@example.com"), "no such user"),
        (("users", "update", "owner@example.com", "--email", "x"), "e-mail address"),
        (("users", "join", "owner@example.com", "Nowhere"), "no such organization"),
        (("organizations", "rename", "Nowhere", "X"), "no such organization"),
        (("organizations", "rename", "Example", "\t"), "1 to 255 characters"),
        (("directory", "audit", "--subject", "nobody"), "no such organization"),
    ],
)
async def test_what_cannot_be_is_one_line(
    house: House, arguments: tuple[str, ...], says: str
) -> None:
    """And changes nothing."""
    line = await refusal(house, *arguments)

    assert says in line
    assert (await house.directory.user(house.owner.id)).version == 1
