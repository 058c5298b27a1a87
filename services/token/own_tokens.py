"""Our own access tokens, looked at again: whose is it, and is it still good?"""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import jwt

from services.token.client_auth import FindClient, state_of
from services.token.key_ring import KeyRing

_REQUIRED = ("iss", "aud", "exp", "iat", "sub", "client_id", "jti")


class OwnTokens:
    """Verifies tokens by the keys that are published, without asking anybody."""

    def __init__(
        self, keys: KeyRing, *, issuer: str, audiences: Collection[str], find: FindClient
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audiences = list(audiences)
        self._find = find
        self._parsed: dict[str, jwt.PyJWK] = {}

    def claims_of(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token that we signed and that has not expired, or None."""
        try:
            header = jwt.get_unverified_header(token)
            key = self._key(header.get("kid"))
            if key is None or header.get("typ") != "at+jwt":
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                issuer=self._issuer,
                audience=self._audiences,
                options={"require": list(_REQUIRED)},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None
        return claims

    def is_live(self, claims: dict[str, Any]) -> bool:
        """Tell whether nothing has happened to the client since that ends the token."""
        client = self._find(claims["client_id"])
        if client is None or state_of(client, datetime.now(UTC)) is not None:
            return False
        if client.not_before is not None and claims["iat"] < client.not_before.timestamp():
            return False
        return all(one.jti != claims["jti"] for one in client.revoked)

    def _key(self, kid: object) -> jwt.PyJWK | None:
        published = {str(one["kid"]): one for one in self._keys.published()}
        if not isinstance(kid, str) or kid not in published:
            return None
        if kid not in self._parsed:
            kept = {one: key for one, key in self._parsed.items() if one in published}
            self._parsed = {**kept, kid: jwt.PyJWK.from_dict(published[kid])}
        return self._parsed[kid]
