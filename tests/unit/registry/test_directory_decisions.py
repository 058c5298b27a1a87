"""What a change makes of an organization or a user, and what the audit says of it."""

from dataclasses import replace
from typing import Any

import pytest

from services.registry.directory import FieldUnusable, Organization, User
from services.registry.directory_decisions import (
    Fact,
    OrganizationChange,
    UserChange,
    add_organization,
    add_user,
    change_organization,
    change_user,
)
from tests.unit.registry.factories import NOON

HOME = Organization(
    id="home", name="Home", global_access=False, active=True, created_at=NOON, version=1
)
AWAY = replace(HOME, id="away", name="Away")
ADA = User(
    id="ada",
    email="ada@example.com",
    name="Ada",
    locale="en",
    active=True,
    administrator=False,
    created_at=NOON,
    version=4,
    organizations=(HOME,),
)


def told(facts: list[Fact]) -> list[tuple[str, dict[str, Any]]]:
    """Return what the audit will say."""
    return [(one.action, one.details) for one in facts]


@pytest.mark.parametrize(
    "change",
    [
        UserChange(),
        UserChange(email="ada@example.com", name=" Ada ", locale="en", administrator=False),
        UserChange(active=True, organizations=(HOME,)),
    ],
)
def test_a_change_that_changes_nothing_is_no_fact(change: UserChange) -> None:
    """Repeats are quiet."""
    assert change_user(ADA, change) == (ADA, [])


def test_the_audit_keeps_no_name_address_or_password() -> None:
    """It is never changed, and people may ask to be forgotten."""
    change = UserChange(
        name="Augusta",
        email="augusta@example.com",
        locale="de",
        time_zone="Europe/Berlin",
        password_hash="$argon2id$…",
    )

    after, facts = change_user(ADA, change)

    assert (after.name, after.email, after.version) == ("Augusta", "augusta@example.com", 5)
    assert told(facts) == [
        (
            "user.changed",
            {
                "changed": ["email", "name", "locale", "time_zone", "password"],
                "from": {"locale": "en"},
                "to": {"locale": "de"},
            },
        )
    ]


def test_each_membership_is_a_fact_of_its_own() -> None:
    """`Who let them in there?` is what the audit is asked."""
    after, facts = change_user(ADA, UserChange(organizations=(AWAY, AWAY)))

    assert after.organizations == (AWAY,)
    assert told(facts) == [
        ("user.joined", {"organization_id": "away"}),
        ("user.left", {"organization_id": "home"}),
    ]


def test_disabling_and_enabling_say_so() -> None:
    """Nobody looks for it in the details."""
    off, facts = change_user(ADA, UserChange(active=False))
    assert told(facts) == [("user.disabled", {})]
    assert told(change_user(off, UserChange(active=True))[1]) == [("user.enabled", {})]
    _, facts = change_organization(HOME, OrganizationChange(active=False))
    assert told(facts) == [("organization.disabled", {})]


def test_an_organization_is_not_a_person() -> None:
    """Its name may be kept."""
    after, facts = change_organization(HOME, OrganizationChange(name="House", global_access=True))

    assert (after.name, after.global_access, after.version) == ("House", True, 2)
    assert told(facts) == [
        (
            "organization.changed",
            {
                "changed": ["name", "global_access"],
                "from": {"name": "Home", "global_access": False},
                "to": {"name": "House", "global_access": True},
            },
        )
    ]


def test_what_is_added_begins_at_version_one() -> None:
    """And the audit says with which rights."""
    user, facts = add_user(
        "ada", UserChange(email="ada@example.com", name="Ada", organizations=(HOME,)), now=NOON
    )
    assert (user.version, user.locale, user.active, user.created_at) == (1, "en", True, NOON)
    ((action, details),) = told(facts)
    assert (action, details["has_password"]) == ("user.added", False)
    assert details["to"]["organizations"] == ["home"]
    assert "ada@example.com" not in str(facts)

    organization, facts = add_organization(
        "home", " Home ", global_access=True, active=True, now=NOON
    )
    assert (organization.name, organization.version) == ("Home", 1)
    assert [one.action for one in facts] == ["organization.added"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (UserChange(name="\x07"), "name"),
        (UserChange(email="nobody"), "email"),
        (UserChange(locale="English"), "locale"),
        (UserChange(organizations=()), "organizations"),
    ],
)
def test_what_cannot_be_names_the_field(change: UserChange, field: str) -> None:
    """The form marks it."""
    with pytest.raises(FieldUnusable) as refused:
        change_user(ADA, change)
    assert refused.value.path == (field,)


def test_a_user_has_an_address_a_name_and_an_organization() -> None:
    """A line of an import may lack them."""
    complete = UserChange(email="ada@example.com", name="Ada", organizations=(HOME,))
    for field in ("email", "name", "organizations"):
        with pytest.raises(FieldUnusable):
            add_user("ada", replace(complete, **{field: None}), now=NOON)
