"""Token introspection (RFC 7662): what a token says, and whether it is good at this moment."""

from collections.abc import Mapping
from typing import Any

from services.token.authentication import ClientAuthentication
from services.token.client_request import ClientRequest
from services.token.errors import InvalidRequest, KeysNotConfigured
from services.token.key_ring import KeyRing
from services.token.own_tokens import OwnTokens
from services.token.parameters import Parameters

# Who has it may ask about every token; all others about their own.
SCOPE = "introspection"
_INACTIVE = {"active": False}
_SAID = ("scope", "client_id", "exp", "iat", "sub", "aud", "iss", "jti", "org", "owner", "cnf")


class Introspection:
    """`POST /introspect`."""

    def __init__(
        self, authenticate: ClientAuthentication, tokens: OwnTokens, keys: KeyRing
    ) -> None:
        self._authenticate = authenticate
        self._tokens = tokens
        self._keys = keys

    async def __call__(self, request: ClientRequest, parameters: Parameters) -> Mapping[str, Any]:
        """Return the members of section 2.2; of what is not for the caller, that it is inactive."""
        caller = (await self._authenticate(request, parameters)).client
        token = parameters.get("token")
        if token is None:
            raise InvalidRequest("The token is missing.")
        if self._keys.current() is None:
            raise KeysNotConfigured(reason=self._keys.trouble)
        claims = self._tokens.claims_of(token)
        if claims is None:
            return _INACTIVE
        is_own = claims["client_id"] == caller.client_id
        if not (is_own or SCOPE in caller.scopes) or not self._tokens.is_live(claims):
            return _INACTIVE
        said = {name: claims[name] for name in _SAID if name in claims}
        return {"active": True, "token_type": "DPoP" if "cnf" in claims else "Bearer", **said}
