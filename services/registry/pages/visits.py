"""A visit: who looks at a page, where they are at work, and what they may do there."""

import uuid
from dataclasses import dataclass, field, replace

from services.registry.clock import now
from services.registry.directory import Organization, User
from services.registry.draws import Draws
from services.registry.handlers import Context
from services.registry.pages.sessions import Session, proof_of
from shared import request_ids

FORMS = "forms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A user who is logged in. `keys_missing`: no tokens can be issued at the moment."""

    session: Session = field(repr=False)
    user: User
    keys_missing: bool

    @property
    def organizations(self) -> list[Organization]:
        """The user's active organizations: where they are at work first, then by name."""
        active = [one for one in self.user.organizations if one.active]
        return sorted(
            active, key=lambda one: (one.id != self.session.organization_id, one.name.casefold())
        )

    @property
    def organization(self) -> Organization | None:
        """Where the user is at work."""
        return next(iter(self.organizations), None)

    @property
    def choices(self) -> list[Organization]:
        """The organizations an own application may be in, if there is a choice at all.

        From one with global access any of them, from another one only that.
        """
        here = self.organization
        if here is None or not here.global_access or len(self.organizations) == 1:
            return []
        return self.organizations

    @property
    def proof(self) -> str:
        """What every form of theirs carries."""
        return proof_of(self.session.token, FORMS)

    def context(self, draws: Draws | None = None) -> Context:
        """Return the context of one command; with draws, of one that may be sent again."""
        context = Context(
            command_id=str(uuid.uuid4()),
            actor=f"user:{self.user.id}",
            now=now,
            correlation_id=request_ids.current(),
        )
        if draws is None:
            return context
        return replace(context, command_id=draws.command_id, random=draws.random)
