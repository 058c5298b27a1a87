"""Who may do what to which application. Every door of the registry asks here."""

from dataclasses import dataclass

EVENTS_READ = "events:read"


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

    The feed shows what happens in all organizations: whoever opens it must rule over all.
    """
    if scope == EVENTS_READ:
        return actor.administrator and actor.has_global_access
    return actor.administrator or not administrators_only
