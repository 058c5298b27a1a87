"""Whom the identity provider names, and who that is here: found by address, or added."""

import uuid
from typing import Any

from services.registry.clock import now
from services.registry.directory import Directory, DirectoryError, User, UserUnknown
from services.registry.directory_changes import Author, DirectoryChanges, NewUser
from services.registry.directory_decisions import UserChange
from services.registry.handlers import Context
from services.registry.pages.provider import Person, SignInRefused
from shared import request_ids
from shared.sections import SignIn


class People:
    """Finds users, adds those who are new, and gives them the role that a claim says."""

    def __init__(
        self, settings: SignIn, *, directory: Directory, changes: DirectoryChanges
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._changes = changes

    async def user_of(self, person: Person) -> User:
        """Return the active user whom a person is. Raises SignInRefused, TransientFailure."""
        administrator = self._is_administrator(person.claims)
        try:
            user = await self._directory.user(person.email)
        except UserUnknown:
            user = await self._add(person, administrator=administrator is True)
        if not user.active:
            raise SignInRefused("disabled")
        if administrator is not None and administrator != user.administrator:
            change = UserChange(administrator=administrator)
            user = await self._changes.change_user(user.id, change, _author())
        return user

    async def _add(self, person: Person, *, administrator: bool) -> User:
        if self._settings.organization is None:
            raise SignInRefused("unknown here")
        new = NewUser(
            email=person.email,
            name=person.name,
            locale=person.locale,
            time_zone=person.time_zone,
            organizations=[self._settings.organization],
            administrator=administrator,
        )
        try:
            return await self._changes.add_user(new, _author())
        except DirectoryError as error:
            try:
                # Another browser of theirs may have been faster.
                return await self._directory.user(person.email)
            except UserUnknown:
                raise SignInRefused(type(error).__name__) from None

    def _is_administrator(self, claims: Any) -> bool | None:
        """Return what the claim says of the role, or None when no claim decides it."""
        if self._settings.administrator_claim is None:
            return None
        said = claims.get(self._settings.administrator_claim)
        values = said if isinstance(said, list) else [said]
        return any(one in self._settings.administrator_values for one in values)


def _author() -> Author:
    context = Context(
        command_id=str(uuid.uuid4()),
        actor="service:sign-in",
        now=now,
        correlation_id=request_ids.current(),
    )
    return Author(context=context)
