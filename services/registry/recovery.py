"""Answering again what was done but never answered, or never kept: from the log."""

from msgspec import structs
from starlette.responses import Response

from services.registry.draws import CLIENT_SECRET
from services.registry.event_store import EventStore
from services.registry.keyed_requests import Derived
from services.registry.operations import Operation
from services.registry.preconditions import etag
from services.registry.views import ApplicationView, ApplicationViews, ApplicationWithSecret
from shared.credentials import hint_of, new_client_secret
from shared.envelope import Envelope
from shared.problem import Problem
from shared.web import NO_STORE, json_response


class AlreadyDone(Problem):
    """What was asked for was done before, and its answer can no longer be given."""

    def __init__(self, detail: str) -> None:
        super().__init__(409, detail)


class Recovery:
    """Looks up what a command has done. Answers with the application as it is now."""

    def __init__(self, store: EventStore, views: ApplicationViews) -> None:
        self._store = store
        self._views = views

    async def answer(self, operation: Operation, derived: Derived) -> Response | None:
        """Return the answer to a command that the log has, or None.

        Of an operation that does not answer with an application nothing is known. Raises
        AlreadyDone.
        """
        if operation.answer not in (ApplicationView, ApplicationWithSecret):
            return None
        envelopes = await self._store.outcome(derived.command_id)
        if not envelopes:
            return None
        last = envelopes[-1]
        view = await self._views.find(last.stream)
        if view is None:
            raise AlreadyDone(
                "This was done when it was first asked for, and the application has been deleted "
                "since. Use a new Idempotency-Key to do it again."
            )
        headers = etag(view.version)
        if operation.status == 201:
            headers["Location"] = f"{operation.path}/{view.id}"
        if operation.answer is ApplicationView:
            return json_response(view, operation.status, headers=headers)
        answer = {**structs.asdict(view), "client_secret": _secret_of(last, derived)}
        return json_response(answer, operation.status, headers={**headers, **NO_STORE})


def _secret_of(envelope: Envelope, derived: Derived) -> str:
    secret = new_client_secret(derived.random(CLIENT_SECRET))
    facts = getattr(envelope.event, "secret", None)
    if facts is None or facts.hint != hint_of(secret):
        # Drawn in another way by another version of this program: a wrong secret helps nobody.
        raise AlreadyDone(
            f"This was done when it was first asked for, but the secret of application "
            f"{envelope.stream} cannot be shown again; rotate it."
        )
    return secret
