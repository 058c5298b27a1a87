"""Enabling and disabling, with what follows for applications. REST and command line come here."""

from dataclasses import dataclass

from services.registry.directory import Organization, User
from services.registry.directory_changes import Author, DirectoryChanges
from services.registry.directory_decisions import OrganizationChange, UserChange
from services.registry.event_store import EventStore
from services.registry.ports import WrongExpectedVersion
from services.registry.views import ApplicationViews
from services.registry.withdrawal import withdraw
from shared.failures import TransientFailure


class WithdrawalPending(TransientFailure):
    """The owner is disabled, the applications not yet: repeat it, or the registry's watch does."""


@dataclass(frozen=True, slots=True)
class Switch:
    """Turns users and organizations on and off.

    Turning off also when it is off already: whoever did it may have died before the applications
    were deactivated.
    """

    changes: DirectoryChanges
    store: EventStore
    views: ApplicationViews

    async def user(
        self, user_id: str, author: Author, *, active: bool, expected_version: int | None = None
    ) -> User:
        """Enable or disable a user. Raises as DirectoryChanges does, and TransientFailure."""
        switched = await self.changes.change_user(
            user_id, UserChange(active=active), author, expected_version=expected_version
        )
        if not active:
            await self._withdraw(author)
        return switched

    async def erase(self, user_id: str, author: Author) -> User:
        """Erase a user, as if disabled; raises as `user` does."""
        erased = await self.changes.erase_user(user_id, author)
        await self._withdraw(author)
        return erased

    async def organization(
        self,
        organization_id: str,
        author: Author,
        *,
        active: bool,
        expected_version: int | None = None,
    ) -> Organization:
        """Enable or disable an organization; raises as `user` does."""
        switched = await self.changes.change_organization(
            organization_id,
            OrganizationChange(active=active),
            author,
            expected_version=expected_version,
        )
        if not active:
            await self._withdraw(author)
        return switched

    async def _withdraw(self, author: Author) -> None:
        try:
            await withdraw(self.store, self.views, author.context)
        except WrongExpectedVersion:
            # Of an application, not of the owner; the caller would take it for the latter.
            raise WithdrawalPending("applications of the disabled were changed meanwhile") from None
