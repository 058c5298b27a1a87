"""Who may do what to which application, user and organization. Every door asks here."""

from dataclasses import dataclass

EVENTS_READ = "events:read"
# What is seen or done with these knows no organizations.
GLOBAL_SCOPES = frozenset({EVENTS_READ, "notifications:read", "notifications:write"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A user who acts, by a page, by a token or by the command line.

    `organizations` are the active ones the user belongs to; `has_global_access` tells that one of
    them has global access.
    """

    user_id: str
    administrator: bool
    organizations: frozenset[str]
    has_global_access: bool


def may_manage(actor: Actor, *, owner_id: str, organization_id: str) -> bool:
    """Own applications, and for administrators those of their organizations."""
    return owner_id == actor.user_id or administers(actor, organization_id)


def may_create_for(actor: Actor, *, owner_id: str, organization_id: str) -> bool:
    """For oneself, and for administrators for owners in their organizations."""
    return may_manage(actor, owner_id=owner_id, organization_id=organization_id)


def administers(actor: Actor, organization_id: str) -> bool:
    """Administrators rule their organizations; one with global access makes it all of them."""
    return actor.administrator and (
        actor.has_global_access or organization_id in actor.organizations
    )


def may_grant(actor: Actor, scope: str, *, administrators_only: bool) -> bool:
    """Some scopes only an administrator may give to an application.

    The feed and the mail are of all organizations: whoever opens them must rule over all.
    """
    if scope in GLOBAL_SCOPES:
        return actor.administrator and actor.has_global_access
    return actor.administrator or not administrators_only


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user to whom something is done. `organizations` are all of theirs, active or not."""

    user_id: str
    administrator: bool
    organizations: frozenset[str]


def may_have_secret_of(actor: Actor, owner: Person) -> bool:
    """Get a new secret of an owner's application: with it one acts as the owner.

    Nobody comes by rights that are above their own: an administrator's only by ruling wherever
    they do.
    """
    return (
        actor.user_id == owner.user_id
        or not owner.administrator
        or rules_all(actor)
        or all(administers(actor, one) for one in owner.organizations)
    )


def rules_all(actor: Actor) -> bool:
    """Administrators with global access; organizations and administrators are theirs to change."""
    return actor.administrator and actor.has_global_access


def may_see_organization(actor: Actor, organization_id: str) -> bool:
    """Administrators see those they rule."""
    return administers(actor, organization_id)


def may_change_organization(actor: Actor) -> bool:
    """Add, rename, enable and disable organizations, and give them global access."""
    return rules_all(actor)


def may_weaken_organization(actor: Actor, organization_id: str) -> bool:
    """Disable it or take its global access, but not from under one's own feet.

    So whoever may do this is still there afterwards: somebody always has global access.
    """
    return may_change_organization(actor) and organization_id not in actor.organizations


def may_see_user(actor: Actor, person: Person) -> bool:
    """Administrators see the members of the organizations they rule."""
    return rules_all(actor) or any(administers(actor, one) for one in person.organizations)


def may_add_user(actor: Actor, *, administrator: bool, organizations: frozenset[str]) -> bool:
    """Administrators add to the organizations they rule; administrators are made from above."""
    return rules_all(actor) or (
        not administrator and all(administers(actor, one) for one in organizations)
    )


def may_change_user(actor: Actor, person: Person) -> bool:
    """Change what is known of them, enable; whoever is somewhere else too is not theirs alone.

    An administrator's address is a way to their rights, so administrators are changed from above.
    """
    return rules_all(actor) or (
        not person.administrator
        and bool(person.organizations)
        and all(administers(actor, one) for one in person.organizations)
    )


def may_disable_user(actor: Actor, person: Person) -> bool:
    """Nobody disables themselves."""
    return may_change_user(actor, person) and actor.user_id != person.user_id


def may_appoint(actor: Actor, person: Person) -> bool:
    """Make somebody an administrator, or no longer one; nobody does so to themselves."""
    return rules_all(actor) and actor.user_id != person.user_id


def may_join(actor: Actor, person: Person, organization_id: str) -> bool:
    """Make a member. For an administrator this would be rule over the organization."""
    return rules_all(actor) or (
        administers(actor, organization_id)
        and may_see_user(actor, person)
        and not person.administrator
    )


def may_leave(actor: Actor, person: Person, organization_id: str) -> bool:
    """End a membership; nobody ends their own."""
    return may_join(actor, person, organization_id) and actor.user_id != person.user_id
