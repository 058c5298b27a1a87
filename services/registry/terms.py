"""On which terms an application is: the scopes it may be given, and until when."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from services.registry.directory import User
from services.registry.domain import KEEP, RegistryError, UpdateApplication
from services.registry.permissions import GLOBAL_SCOPES, may_grant
from services.registry.views import ApplicationView
from shared.config import Settings


class FieldRefused(RegistryError):
    """One member of what was asked cannot be done; `path` leads to it."""

    def __init__(self, detail: str, *path: str | int) -> None:
        super().__init__(detail)
        self.path = path


def grantable(
    wanted: Sequence[str], *, by: User | None, settings: Settings, had: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the scopes without repeats, if a user (None: the operator) may give them.

    Those the application `had` may be kept, whoever gave them. Raises FieldRefused.
    """
    for index, name in enumerate(wanted):
        if name in had:
            continue
        scope = settings.scopes.get(name)
        if scope is None:
            known = ", ".join(sorted(settings.scopes))
            raise FieldRefused(f"There is no such scope; there are: {known}.", "scopes", index)
        if by is not None and not may_grant(
            by.actor, name, administrators_only=scope.administrators_only
        ):
            raise FieldRefused(_whose(name), "scopes", index)
    return tuple(dict.fromkeys(wanted))


def _whose(scope: str) -> str:
    if scope in GLOBAL_SCOPES:
        return "Only an administrator with global access may give this scope."
    return "Only an administrator may give this scope."


def admitted(
    command: UpdateApplication,
    view: ApplicationView,
    *,
    by: User | None,
    settings: Settings,
    now: datetime,
) -> UpdateApplication:
    """Return the change of an application, if a user (None: the operator) may make it.

    Raises FieldRefused.
    """
    if command.expires_at is not KEEP and command.expires_at != view.expires_at:
        ahead(command.expires_at, now, "expires_at")
    if command.scopes is KEEP:
        return command
    scopes = grantable(command.scopes, by=by, settings=settings, had=view.scopes)
    return replace(command, scopes=scopes)


def ahead(moment: datetime | None, now: datetime, member: str) -> datetime | None:
    """Return when something ends, or None for never. Raises FieldRefused for the past."""
    if moment is not None and moment <= now:
        raise FieldRefused("Give a time in the future, or none.", member)
    return moment
