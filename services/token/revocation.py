"""Token revocation (RFC 7009): a client ends one of its own tokens before its time.

It becomes an event of the registry's log, so that every resource server learns of it.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from services.token.authentication import ClientAuthentication
from services.token.client_auth import CatchUp
from services.token.client_request import ClientRequest
from services.token.errors import InvalidRequest, RegistryAway, TooManyRevocations
from services.token.own_tokens import OwnTokens
from services.token.parameters import Parameters
from shared.failures import PermanentFailure, TransientFailure
from shared.revocation import TokenRevocation

# Kept with the client until they have expired; whoever needs more revokes all tokens at once.
LIVE_REVOCATIONS = 200
Tell = Callable[[TokenRevocation], Awaitable[None]]


class Revocation:
    """`POST /revoke`."""

    def __init__(
        self,
        authenticate: ClientAuthentication,
        tokens: OwnTokens,
        tell: Tell,
        catch_up: CatchUp,
    ) -> None:
        self._authenticate = authenticate
        self._tokens = tokens
        self._tell = tell
        self._catch_up = catch_up

    async def __call__(self, request: ClientRequest, parameters: Parameters) -> None:
        """Return once the token is good for nothing; unknown ones are that already (section 2.2).

        Raises InvalidRequest for the token of another client, TooManyRevocations, RegistryAway.
        """
        caller = (await self._authenticate(request, parameters)).client
        token = parameters.get("token")
        if token is None:
            raise InvalidRequest("The token is missing.")
        claims = self._tokens.claims_of(token)
        if claims is None:
            return
        if claims["client_id"] != caller.client_id:
            raise InvalidRequest("The token was not issued to this client.")
        if not self._tokens.is_live(claims):
            return
        now = datetime.now(UTC)
        if sum(one.expires_at > now for one in caller.revoked) >= LIVE_REVOCATIONS:
            raise TooManyRevocations
        told = TokenRevocation(
            application_id=caller.application_id,
            jti=claims["jti"],
            expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        )
        try:
            await self._tell(told)
        except TransientFailure as failure:
            raise RegistryAway(reason=str(failure)) from None
        except PermanentFailure:
            # The application is gone meanwhile, and its tokens with it.
            return
        # So that this service says so too, when it is asked next.
        await self._catch_up()
