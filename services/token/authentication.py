"""Who asks: the client of a request, by whichever way it authenticates."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from services.token.assertions import claimed_client, verified_claims
from services.token.client_auth import (
    NOT_FORM_ENCODED,
    Assertion,
    Authenticated,
    CatchUp,
    Credentials,
    FindClient,
    authenticate,
    presented,
    state_of,
)
from services.token.client_request import ClientRequest
from services.token.errors import InvalidClient, ProjectionStale
from services.token.failures import Failures
from services.token.parameters import Parameters
from services.token.replays import Replays
from services.token.usage import Usage
from shared.config import Settings
from shared.credentials import is_well_formed_client_id
from shared.usage import FailureReason

# What the log says → what the owner is told; all else has to do with an assertion.
REASONS: Mapping[str, FailureReason] = {
    "wrong secret": "wrong_secret",
    "not a Client Secret": "malformed_secret",
    NOT_FORM_ENCODED: "malformed_basic",
    "secret expired": "expired_secret",
    "client expired": "expired_application",
    "client deactivated": "inactive_application",
}


class ClientAuthentication:
    """Finds out which client sends a request, by secret or by assertion."""

    def __init__(
        self,
        settings: Settings,
        *,
        find: FindClient,
        catch_up: CatchUp,
        require_fresh: Callable[[], None],
        replays: Replays,
        failures: Failures,
        usage: Usage,
    ) -> None:
        self._issuer = settings.issuer
        self._longest = settings.token.assertion_lifetime.total_seconds()
        self._find = find
        self._catch_up = catch_up
        self._require_fresh = require_fresh
        self._replays = replays
        self._failures = failures
        self._usage = usage

    async def __call__(self, request: ClientRequest, parameters: Parameters) -> Authenticated:
        """Return the client.

        Raises InvalidRequest, InvalidClient, ProjectionStale, TooManyFailures.
        """
        try:
            shown = presented(request.authorization, parameters)
        except InvalidClient as error:
            self._tell_owner(error)
            raise
        try:
            self._require_fresh()
        except ProjectionStale:
            # Who has just been started knows the clients in a moment, and is asked already.
            await self._catch_up()
            self._require_fresh()
        client_id = (
            shown.client_id if isinstance(shown, Credentials) else claimed_client(shown.token)
        )
        digest = shown.digest if isinstance(shown, Credentials) else ""
        self._failures.admit(request.address, client_id, digest)
        try:
            if isinstance(shown, Credentials):
                now = datetime.now(UTC)
                found = await authenticate(shown, self._find, self._catch_up, now)
            else:
                found = await self._by_assertion(shown, client_id, parameters)
        except InvalidClient as error:
            # What cannot be a Client ID counts as one: it may be long, and different each time.
            self._failures.failed(request.address, error.client_id or "")
            self._tell_owner(error)
            raise
        # Of one with keys no more than its name: a signature cannot be guessed.
        self._failures.succeeded(client_id, digest)
        return found

    def _tell_owner(self, error: InvalidClient) -> None:
        """Count the reason, which the caller does not learn, for the owner of the application."""
        client = None if error.client_id is None else self._find(error.client_id)
        if client is not None:
            reason = REASONS.get(error.reason, "bad_assertion")
            self._usage.note_failure(client.application_id, reason, datetime.now(UTC))

    async def _by_assertion(
        self, shown: Assertion, client_id: str, parameters: Parameters
    ) -> Authenticated:
        if parameters.get("client_id") not in (None, client_id):
            raise InvalidClient(reason="the client_id is not that of the assertion")
        if not is_well_formed_client_id(client_id):
            raise InvalidClient(reason="not a Client ID")
        found = self._examine(shown, client_id)
        if isinstance(found, str):
            await self._catch_up()
            found = self._examine(shown, client_id)
        if isinstance(found, str):
            raise InvalidClient(reason=found, client_id=client_id)
        authenticated, claims = found
        now = datetime.now(UTC).timestamp()
        name = f"assertion {client_id} {claims['jti']}"
        if not self._replays.is_new(name, until=claims["exp"] + 60, now=now):
            raise InvalidClient(reason="assertion used before", client_id=client_id)
        return authenticated

    def _examine(
        self, shown: Assertion, client_id: str
    ) -> tuple[Authenticated, dict[str, Any]] | str:
        now = datetime.now(UTC)
        client = self._find(client_id)
        if client is None:
            return "unknown client"
        verified = verified_claims(
            shown.token, client, issuer=self._issuer, longest=self._longest, now=now.timestamp()
        )
        if isinstance(verified, str):
            return verified
        claims, kid = verified
        wrong = state_of(client, now)
        if wrong is not None:
            return wrong
        # Uses are counted for each secret, and so for each key.
        return Authenticated(
            client, str(uuid5(NAMESPACE_URL, f"urn:jwk:{client_id}:{kid}"))
        ), claims
