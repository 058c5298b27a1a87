"""The directory, as a test furnishes it: everything is done by an operator."""

import uuid
from typing import Any

from services.registry.directory import Directory, Organization, User
from services.registry.directory_changes import Author, DirectoryChanges, NewUser
from services.registry.directory_decisions import OrganizationChange, UserChange
from services.registry.handlers import Context
from shared.postgres import Pool
from tests.unit.registry.factories import NOON


def operator(name: str = "cli:test") -> Author:
    """Return who may do everything."""
    return Author(
        context=Context(command_id=str(uuid.uuid4()), actor=name, now=lambda: NOON),
    )


class FurnishedDirectory(Directory):
    """A directory with shorthands for its changes."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.changes = DirectoryChanges(pool)

    async def add_organization(self, name: str, *, global_access: bool = False) -> Organization:
        """Add an organization."""
        return await self.changes.add_organization(name, operator(), global_access=global_access)

    async def add_user(self, email: str, **given: Any) -> User:
        """Add a user; organizations by id or name."""
        return await self.changes.add_user(NewUser(email=email, **given), operator())

    async def set_organization_active(self, organization_id: str, *, active: bool) -> None:
        """Set the flag, and nothing else."""
        await self.changes.change_organization(
            organization_id, OrganizationChange(active=active), operator()
        )

    async def set_user_active(self, user_id: str, *, active: bool) -> None:
        """Set the flag, and nothing else."""
        await self.changes.change_user(user_id, UserChange(active=active), operator())
