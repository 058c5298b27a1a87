"""Organizations, users and memberships."""

import asyncio
import uuid
from dataclasses import replace

import pytest
from argon2 import PasswordHasher

from services.registry.directory import DirectoryError, OrganizationUnknown, UserUnknown
from shared.feed_client import Recipient
from tests.integration.registry.house import House

PASSWORD = "correct horse battery"


async def test_a_user_is_found_by_id_and_by_address_however_it_is_written(house: House) -> None:
    """People type their address as they like."""
    added = await house.directory.add_user(
        "Ada@Example.com", name=" Ada ", organizations=["Example"], locale="de_AT"
    )

    assert added.name == "Ada"
    assert added.locale == "de_AT"
    assert [one.name for one in added.organizations] == ["Example"]
    for reference in (added.id, "ada@example.COM", " Ada@Example.com "):
        assert added == await house.directory.user(reference)


async def test_one_account_an_address(house: House) -> None:
    """Otherwise two people would get the same mails."""
    with pytest.raises(DirectoryError, match="exists already"):
        await house.directory.add_user("OWNER@example.com", name="Other", organizations=["Example"])


async def test_of_two_that_are_added_at_once_one_wins(house: House) -> None:
    """The database decides, not a look before."""
    outcomes = await asyncio.gather(
        *(
            house.directory.add_user("new@example.com", name="New", organizations=["Example"])
            for _ in range(4)
        ),
        return_exceptions=True,
    )

    assert sum(isinstance(one, DirectoryError) for one in outcomes) == 3
    assert len(await house.directory.users()) == 2


async def test_a_password_is_kept_as_argon2id(house: House) -> None:
    """It is what people use elsewhere too."""
    user = await house.directory.add_user(
        "a@example.com", name="A", organizations=["Example"], password=PASSWORD
    )

    stored = await house.pool.fetchval(
        "SELECT password_hash FROM registry.users WHERE id = $1", user.id
    )
    assert stored.startswith("$argon2id$")
    assert PasswordHasher().verify(stored, PASSWORD)
    assert PASSWORD not in repr(user)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "a@",
        "@b",
        "a@b@c",
        "a b@c",
        "a@b\n",
        "a@b\r\nBcc: c@d",
        "<a@b>",
        "a,b@c",
        "a\0@b",
        "a\ud800@b",
        "a" * 250 + "@b.cd",
    ],
)
async def test_what_is_no_address_is_refused(house: House, address: str) -> None:
    """It will stand in the header of a mail."""
    if address == "a@b\n":
        # Space around an address is what copying brings along.
        address = "a@b\nc"
    with pytest.raises(DirectoryError, match="e-mail address"):
        await house.directory.add_user(address, name="A", organizations=["Example"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": ""}, "user's name"),
        ({"name": "a\nb"}, "user's name"),
        ({"name": "a\ud800"}, "user's name"),
        ({"name": "x" * 256}, "user's name"),
        ({"locale": "english"}, "locale"),
        ({"locale": "en_us"}, "locale"),
        ({"password": "short"}, "at least 12"),
        ({"organizations": []}, "at least one"),
        ({"organizations": ["Nowhere"]}, "no such organization"),
        ({"organizations": ["Example", str(uuid.uuid4())]}, "no such organization"),
    ],
)
async def test_a_user_who_cannot_be_is_refused_whole(
    house: House, given: dict[str, object], says: str
) -> None:
    """No account without its memberships is left behind."""
    facts: dict[str, object] = {"name": "A", "organizations": ["Example"], **given}

    with pytest.raises(DirectoryError, match=says):
        await house.directory.add_user("a@example.com", **facts)
    assert [house.owner] == await house.directory.users()


@pytest.mark.parametrize(
    "reference", ["", "nobody@example.com", str(uuid.UUID(int=0)), "a\0b", "a\ud800b", "x" * 5000]
)
async def test_who_is_not_there_is_unknown(house: House, reference: str) -> None:
    """Whatever was typed; also what Postgres cannot even hold."""
    with pytest.raises(UserUnknown):
        await house.directory.user(reference)
    with pytest.raises(OrganizationUnknown):
        await house.directory.organization(reference)


async def test_an_organization_is_found_by_id_and_by_its_exact_name(house: House) -> None:
    """An id goes first, whatever others are called."""
    named_like_an_id = await house.directory.add_organization(house.organization.id)

    assert house.organization == await house.directory.organization("Example")
    assert house.organization == await house.directory.organization(house.organization.id)
    assert named_like_an_id in await house.directory.organizations()
    with pytest.raises(OrganizationUnknown):
        await house.directory.organization("example")


@pytest.mark.parametrize("name", ["Example", " Example ", "", " ", "a\tb", "a\ud800", "x" * 256])
async def test_an_organization_that_cannot_be_is_refused(house: House, name: str) -> None:
    """A name twice, none, or one that breaks a line."""
    with pytest.raises(DirectoryError):
        await house.directory.add_organization(name)
    assert [house.organization] == await house.directory.organizations()


async def test_a_disabled_user_is_inactive_until_enabled(house: House) -> None:
    """Nothing else changes, but for the version."""
    await house.directory.set_user_active(house.owner.id, active=False)
    assert not (await house.directory.user(house.owner.id)).active

    await house.directory.set_user_active(house.owner.id, active=True)
    enabled = await house.directory.user(house.owner.id)
    assert replace(house.owner, version=3) == enabled


async def test_only_active_organizations_count_for_what_a_user_may_do(house: House) -> None:
    """Membership stays; the rights rest."""
    above = await house.directory.add_organization("Above", global_access=True)
    user = await house.directory.add_user(
        "a@example.com", name="A", organizations=["Example", "Above"], administrator=True
    )
    assert user.actor.has_global_access

    await house.pool.execute(
        "UPDATE registry.organizations SET active = false WHERE id = $1", above.id
    )

    user = await house.directory.user(user.id)
    assert not user.actor.has_global_access
    assert user.actor.organizations == {house.organization.id}
    assert user.belongs_to(above.id)


async def test_a_recipient_is_whom_to_write_to_now(house: House) -> None:
    """Asked for when a mail is sent: events know no address."""
    recipient = await house.directory.recipient(house.owner.id)

    assert recipient is not None
    assert recipient == Recipient(
        id=house.owner.id,
        email="owner@example.com",
        name="Olga Owner",
        locale="en",
        time_zone="UTC",
        active=True,
    )
    assert await house.directory.recipient(str(uuid.uuid4())) is None
    assert await house.directory.recipient("junk") is None
