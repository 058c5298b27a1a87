"""The applications that a user may manage. What may not be managed may not be known to exist."""

import uuid

from services.registry.creation import OUTRANKED, Forbidden
from services.registry.directory import Directory, User
from services.registry.domain import ApplicationNotFound
from services.registry.event_store import EventStore
from services.registry.permissions import may_have_secret_of, may_manage
from services.registry.views import ApplicationView, ApplicationViews
from shared.envelope import Envelope
from shared.security_log import security


class VisibleApplications:
    """Applications as one user sees them, whichever way the request came."""

    def __init__(self, store: EventStore, views: ApplicationViews, directory: Directory) -> None:
        self._store = store
        self._views = views
        self._directory = directory

    async def view(self, text: str, user: User) -> ApplicationView:
        """Return an application by its id, as it is written. Raises ApplicationNotFound."""
        view = await self._views.find(application_id_of(text))
        if view is None:
            raise ApplicationNotFound
        _require_managed(user, view.id, view.owner.id, view.organization.id)
        return view

    async def history(self, text: str, user: User) -> list[Envelope]:
        """Return all its events, also after its end. Raises ApplicationNotFound."""
        application_id = application_id_of(text)
        envelopes = await self._store.load(application_id)
        if not envelopes:
            raise ApplicationNotFound
        first = envelopes[0].event
        _require_managed(user, application_id, first.owner_id, first.organization_id)
        return envelopes

    async def may_have_secret(self, user: User, owner_id: str) -> bool:
        """Tell whether a user may get secrets of the applications of an owner."""
        owner = await self._directory.user(owner_id)
        return may_have_secret_of(user.actor, owner.person)

    async def require_secret(self, user: User, view: ApplicationView) -> None:
        """Return if the user may get its secrets. Raises Forbidden."""
        if not await self.may_have_secret(user, view.owner.id):
            raise Forbidden(OUTRANKED)


def application_id_of(text: str) -> str:
    """Return an id in its one form. Raises ApplicationNotFound for what is none."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ApplicationNotFound from None


def _require_managed(user: User, application_id: str, owner_id: str, organization_id: str) -> None:
    if not may_manage(user.actor, owner_id=owner_id, organization_id=organization_id):
        security.warning("application hidden", user=user.id, application=application_id)
        raise ApplicationNotFound
