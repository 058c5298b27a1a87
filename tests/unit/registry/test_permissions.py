"""Who may do what in the directory: role x relation x action, each cell written out."""

from collections.abc import Callable

import pytest

from services.registry.permissions import (
    Actor,
    Person,
    may_add_user,
    may_appoint,
    may_change_organization,
    may_change_user,
    may_disable_user,
    may_have_secret_of,
    may_join,
    may_leave,
    may_see_organization,
    may_see_user,
    may_weaken_organization,
)

ME, OTHER = "me", "somebody else"
HOME, AWAY, ABOVE = "home", "away", "above"

USER = Actor(
    user_id=ME, administrator=False, organizations=frozenset({HOME}), has_global_access=False
)
# A plain member of an organization with global access is still no administrator.
USER_ABOVE = Actor(
    user_id=ME, administrator=False, organizations=frozenset({ABOVE}), has_global_access=True
)
LOCAL = Actor(
    user_id=ME, administrator=True, organizations=frozenset({HOME}), has_global_access=False
)
CHIEF = Actor(
    user_id=ME, administrator=True, organizations=frozenset({ABOVE}), has_global_access=True
)
# Belongs to disabled organizations only.
STRANDED = Actor(user_id=ME, administrator=True, organizations=frozenset(), has_global_access=False)
ROLES = (USER, USER_ABOVE, LOCAL, CHIEF, STRANDED)


def person(*organizations: str, user_id: str = OTHER, administrator: bool = False) -> Person:
    """Return somebody to whom something is done."""
    return Person(
        user_id=user_id, administrator=administrator, organizations=frozenset(organizations)
    )


RELATIONS = {
    "of home": person(HOME),
    "of home and away": person(HOME, AWAY),
    "of away": person(AWAY),
    "of nowhere": person(),
    "administrator of home": person(HOME, administrator=True),
    "administrator of home and above": person(HOME, ABOVE, administrator=True),
}
ACTIONS: dict[str, Callable[[Actor, Person], bool]] = {
    "see": may_see_user,
    "change": may_change_user,
    "disable": may_disable_user,
    "appoint": may_appoint,
    "join home": lambda actor, subject: may_join(actor, subject, HOME),
    "join away": lambda actor, subject: may_join(actor, subject, AWAY),
    "leave home": lambda actor, subject: may_leave(actor, subject, HOME),
    "leave away": lambda actor, subject: may_leave(actor, subject, AWAY),
}
# What an administrator of `home` without global access may do; everything else is refused.
LOCALLY = {
    "of home": {"see", "change", "disable", "join home", "leave home"},
    "of home and away": {"see", "join home", "leave home"},
    "of away": set[str](),
    "of nowhere": set[str](),
    "administrator of home": {"see"},
    "administrator of home and above": {"see"},
}


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("action", ACTIONS)
def test_what_may_be_done_to_a_user(relation: str, action: str) -> None:
    """The whole matrix; a cell that changes is a decision, and stands in the documents."""
    subject, may = RELATIONS[relation], ACTIONS[action]

    outcome = {
        name: may(role, subject)
        for name, role in zip(
            ("user", "user above", "local", "chief", "stranded"), ROLES, strict=True
        )
    }

    assert outcome == {
        "user": False,
        "user above": False,
        "local": action in LOCALLY[relation],
        "chief": True,
        "stranded": False,
    }


@pytest.mark.parametrize("role", [LOCAL, CHIEF])
@pytest.mark.parametrize("action", ["disable", "appoint", "leave home"])
def test_nobody_takes_their_own_rights(role: Actor, action: str) -> None:
    """So the last one who can administer is never the one who goes."""
    myself = person(HOME, ABOVE, user_id=ME, administrator=True)

    assert not ACTIONS[action](role, myself)


def test_an_administrator_with_global_access_corrects_their_own_name() -> None:
    """It takes nothing from anybody."""
    assert may_change_user(CHIEF, person(ABOVE, user_id=ME, administrator=True))
    assert not may_change_user(LOCAL, person(HOME, user_id=ME, administrator=True))


@pytest.mark.parametrize(
    ("organizations", "administrator", "locally"),
    [
        ({HOME}, False, True),
        ({HOME}, True, False),
        ({HOME, AWAY}, False, False),
        ({AWAY}, False, False),
        ({ABOVE}, False, False),
    ],
)
def test_who_may_add_whom(
    organizations: set[str],
    administrator: bool,  # noqa: FBT001
    locally: bool,  # noqa: FBT001
) -> None:
    """Administrators are made from above, and nobody adds to an organization that is not theirs."""
    outcome = [
        may_add_user(one, administrator=administrator, organizations=frozenset(organizations))
        for one in ROLES
    ]

    assert outcome == [False, False, locally, True, False]


def test_what_may_be_done_to_an_organization() -> None:
    """Organizations belong to the house: their own administrators only look at them."""
    assert [may_see_organization(one, HOME) for one in ROLES] == [False, False, True, True, False]
    assert [may_see_organization(one, AWAY) for one in ROLES] == [False] * 3 + [True, False]
    assert [may_change_organization(one) for one in ROLES] == [False] * 3 + [True, False]
    assert [may_weaken_organization(one, HOME) for one in ROLES] == [False] * 3 + [True, False]


def test_nobody_disables_the_organization_that_they_rule_by() -> None:
    """The last one with global access would be gone, and nobody could bring it back."""
    assert not may_weaken_organization(CHIEF, ABOVE)


def test_nobody_gets_a_secret_that_opens_more_than_they_may() -> None:
    """Whoever knows an application's secret acts as its owner."""
    member = person(HOME, AWAY)
    peer, superior = person(HOME, administrator=True), person(HOME, ABOVE, administrator=True)
    myself = person(HOME, ABOVE, administrator=True, user_id=ME)

    assert all(may_have_secret_of(CHIEF, one) for one in (member, peer, superior, myself))
    assert [may_have_secret_of(LOCAL, one) for one in (member, peer, superior, myself)] == [
        True,
        True,
        False,
        True,
    ]
