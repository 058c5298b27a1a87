"""The token endpoint, what stands beside it, and what describes it: JWKS, metadata."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.token.access_tokens import AccessTokens
from services.token.authentication import ClientAuthentication
from services.token.client_request import ClientRequest
from services.token.dpop import DpopProofs
from services.token.errors import (
    InvalidDpopProof,
    InvalidScope,
    InvalidTarget,
    KeysNotConfigured,
    OAuthError,
    ProjectionStale,
)
from services.token.grant import Targets, check_grant_type, granted_scope
from services.token.key_ring import KeyRing
from services.token.metadata import metadata_of, metadata_path
from services.token.parameters import Parameters
from services.token.projection import Projection
from services.token.usage import Usage
from shared.config import Settings
from shared.usage import FailureReason
from shared.web import json_response

# How often the store's staleness is looked at; the bound it is held against is minutes or hours.
STALENESS_LOOK_SECONDS = 1.0
REASONS: Mapping[type[OAuthError], FailureReason] = {
    InvalidTarget: "unknown_resource",
    InvalidScope: "unknown_scope",
    InvalidDpopProof: "bad_dpop_proof",
}
TOKEN_PATHS = frozenset({"/oauth2-token", "/token"})


class ClientCredentials:
    """`POST /oauth2-token`: the client credentials grant."""

    def __init__(
        self,
        settings: Settings,
        *,
        keys: KeyRing,
        authenticate: ClientAuthentication,
        targets: Targets,
        proofs: DpopProofs,
        usage: Usage,
    ) -> None:
        self._keys = keys
        self._authenticate = authenticate
        self._targets = targets
        self._proofs = proofs
        self._usage = usage
        self._tokens = AccessTokens(
            issuer=settings.issuer,
            lifetime_seconds=int(settings.token.lifetime.total_seconds()),
        )

    async def __call__(self, request: ClientRequest, parameters: Parameters) -> Mapping[str, Any]:
        """Return the members of RFC 6749, section 5.1. Raises OAuthError."""
        key = self._keys.current()
        if key is None:
            raise KeysNotConfigured(reason=self._keys.trouble)
        check_grant_type(parameters)
        found = await self._authenticate(request, parameters)
        client = found.client
        now = datetime.now(UTC)
        try:
            target = self._targets.of(parameters)
            granted = granted_scope(parameters.get("scope"), client.scopes, target.scopes)
            thumbprint = self._proofs.key_of(request)
        except (InvalidTarget, InvalidScope, InvalidDpopProof) as error:
            self._usage.note_failure(client.application_id, REASONS[type(error)], now)
            raise
        lifetime = self._tokens.lifetime_of(client, target, now.timestamp())
        self._usage.note(client.application_id, found.secret_id, request.address, now)
        return {
            "access_token": self._tokens.sign(
                key, client, granted, lifetime, audience=target.audience, thumbprint=thumbprint
            ),
            "token_type": "Bearer" if thumbprint is None else "DPoP",
            "expires_in": lifetime,
            "scope": granted,
        }


class Freshness:
    """Whether the projection may be relied on; between two looks at it, two clocks are compared."""

    def __init__(self, projection: Projection, settings: Settings) -> None:
        self._projection = projection
        self._max_staleness = settings.token.max_staleness.total_seconds()
        self._fresh_until = -float("inf")

    def require(self) -> None:
        """Return while the projection may be relied on. Raises ProjectionStale."""
        now = time.monotonic()
        if now < self._fresh_until:
            return
        staleness = self._projection.staleness()
        if staleness > self._max_staleness:
            reason = self._projection.trouble or f"projection not confirmed for {staleness:.0f} s"
            raise ProjectionStale(reason=reason)
        self._fresh_until = now + min(STALENESS_LOOK_SECONDS, self._max_staleness - staleness)


def routes(settings: Settings, keys: KeyRing) -> Sequence[Route]:
    """Return the routes of what describes the endpoints."""

    async def jwks(_request: Request) -> Response:
        published = keys.published()
        return json_response(
            {"keys": published},
            # Who finds none shall look again soon.
            headers={"Cache-Control": "public, max-age=300" if published else "no-cache"},
        )

    async def metadata(_request: Request) -> Response:
        key = keys.current()
        return json_response(
            metadata_of(settings, None if key is None else key.algorithm),
            headers={"Cache-Control": "public, max-age=300" if key else "no-cache"},
        )

    return [
        Route("/.well-known/jwks.json", jwks, methods=["GET"]),
        Route(metadata_path(settings.issuer), metadata, methods=["GET"]),
    ]
