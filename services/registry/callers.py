"""Who calls the REST API: whose access token it is, and on whose behalf."""

import uuid
from dataclasses import dataclass

from starlette.requests import Request

from services.registry.clock import now
from services.registry.directory import Directory, User, UserUnknown
from services.registry.handlers import Context
from services.registry.views import ApplicationViews
from shared.resource_server import (
    AccessToken,
    BearerVerifier,
    NoSigningKeys,
    TokenRefused,
    bearer_token,
    insufficient_scope,
    invalid_token,
    keys_missing,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The owner of the application whose access token was presented, and where it belongs."""

    user: User
    organization_id: str
    token: AccessToken

    def context(self) -> Context:
        """Return the context of one command of theirs."""
        return Context(
            command_id=str(uuid.uuid4()),
            actor=f"user:{self.user.id}",
            now=now,
            # Which credential it was done with: the answer to the audit's second question.
            correlation_id=f"client:{self.token.client_id}",
        )


class Callers:
    """Lets in those whose access token is good now."""

    def __init__(
        self, verifier: BearerVerifier, views: ApplicationViews, directory: Directory
    ) -> None:
        self._verifier = verifier
        self._views = views
        self._directory = directory

    async def caller(self, request: Request, scope: str) -> Caller:
        """Return who calls. Raises Problem 401, 403 (RFC 6750) or 503."""
        try:
            await self._verifier.require_keys()
            token = await self._verifier.verify(bearer_token(request.headers.get("authorization")))
        except NoSigningKeys:
            raise keys_missing() from None
        except TokenRefused:
            raise invalid_token() from None
        # The registry holds the truth: a token dies here with its client, at once.
        client = await self._views.caller(token.client_id)
        if client is None or not client.active:
            raise invalid_token()
        if client.expires_at is not None and client.expires_at <= now():
            raise invalid_token()
        if client.not_before is not None and token.issued_at < client.not_before.timestamp():
            raise invalid_token()
        try:
            user = await self._directory.user(client.owner_id)
        except UserUnknown:
            raise invalid_token() from None
        if not user.active:
            raise invalid_token()
        if scope not in token.scopes:
            raise insufficient_scope(scope)
        return Caller(user=user, organization_id=client.organization_id, token=token)
