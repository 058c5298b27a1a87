"""Who calls the REST API: whose access token it is, and on whose behalf."""

import uuid
from dataclasses import dataclass, replace

from starlette.requests import Request

from services.registry.clock import now
from services.registry.directory import Directory, User, UserUnknown
from services.registry.handlers import Context
from services.registry.keyed_requests import Derived
from services.registry.rate_limits import FailedAuthentications
from services.registry.views import ApplicationViews
from shared import request_ids
from shared.resource_server import (
    AccessToken,
    BearerVerifier,
    NoSigningKeys,
    Possession,
    TokenRefused,
    insufficient_scope,
    invalid_token,
    keys_missing,
    presented_token,
)
from shared.security_log import path_of, security


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The owner of the application whose access token was presented, and where it belongs."""

    user: User
    organization_id: str
    token: AccessToken
    # Set for a request with an Idempotency-Key.
    draws_from: Derived | None = None

    def context(self) -> Context:
        """Return the context of the one command of their request."""
        context = Context(
            command_id=str(uuid.uuid4()),
            actor=f"user:{self.user.id}",
            now=now,
            correlation_id=request_ids.current(),
            by=f"client:{self.token.client_id}",
        )
        if self.draws_from is None:
            return context
        # A retry sends the same command again, which the log then knows.
        drawn = self.draws_from
        return replace(context, command_id=drawn.command_id, random=drawn.random)


def caller_of(request: Request) -> Caller:
    """Return who calls, of a request that the edge has let in."""
    caller: Caller = request.state.caller
    return caller


class Callers:
    """Lets in those whose access token is good now."""

    def __init__(
        self,
        verifier: BearerVerifier,
        views: ApplicationViews,
        directory: Directory,
        failures: FailedAuthentications,
        possession: Possession,
    ) -> None:
        self._verifier = verifier
        self._views = views
        self._directory = directory
        self._failures = failures
        self._possession = possession

    async def caller(self, request: Request, scope: str) -> Caller:
        """Return who calls. Raises Problem 401, 403 (RFC 6750), 429 or 503."""
        caller = await self.authenticated(request)
        if scope not in caller.token.scopes:
            raise insufficient_scope(scope)
        return caller

    async def authenticated(self, request: Request) -> Caller:
        """Return who calls, whatever their scopes. Raises Problem 401, 429 or 503."""
        known: Caller | None = getattr(request.state, "caller", None)
        if known is not None:
            return known
        address = "" if request.client is None else request.client.host
        try:
            await self._verifier.require_keys()
        except NoSigningKeys:
            raise keys_missing() from None
        presented = presented_token(request.headers.get("authorization"))
        self._failures.admit(address, presented)
        try:
            caller = await self._caller(presented, request)
        except NoSigningKeys:
            raise keys_missing() from None
        except TokenRefused as error:
            self._failures.failed(address)
            path = path_of(request.url.path)
            security.warning("access token refused", reason=str(error), path=path)
            raise invalid_token() from None
        self._failures.succeeded(presented)
        request.state.caller = caller
        return caller

    async def again(self, request: Request) -> Caller:
        """Return who calls, looked up anew: the token may have run out, the client be gone."""
        request.state.caller = None
        return await self.authenticated(request)

    async def _caller(self, presented: str, request: Request) -> Caller:
        """Return who calls. Raises TokenRefused, NoSigningKeys and what the look-ups raise."""
        token = await self._verifier.verify(presented)
        self._possession.check(token, request)
        # The registry holds the truth: a token dies here with its client, at once.
        client = await self._views.caller(token.client_id)
        if client is None or not client.active:
            raise TokenRefused("client inactive or gone")
        if client.expires_at is not None and client.expires_at <= now():
            raise TokenRefused("client expired")
        if client.not_before is not None and token.issued_at < client.not_before.timestamp():
            raise TokenRefused("the client's tokens revoked")
        if token.jti in client.revoked:
            raise TokenRefused("revoked")
        try:
            user = await self._directory.user(client.owner_id)
        except UserUnknown:
            raise TokenRefused("owner unknown") from None
        if not user.active:
            raise TokenRefused("owner disabled")
        return Caller(user=user, organization_id=client.organization_id, token=token)
