"""Our own access tokens, looked at again: whose is it, and is it still good?"""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import jwt
import msgspec

from services.token.client_auth import FindClient, state_of
from services.token.key_ring import KeyRing
from shared import base64url

_REQUIRED = frozenset({"iss", "aud", "exp", "iat", "sub", "client_id", "jti"})
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class OwnTokens:
    """Verifies tokens by the keys that are published, without asking anybody.

    A library would do, and read each token with all the care that somebody else's needs; nothing of
    ours is read before its signature is verified, but for its header, of which each key has one.
    """

    def __init__(
        self, keys: KeyRing, *, issuer: str, audiences: Collection[str], find: FindClient
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audiences = frozenset(audiences)
        self._find = find
        self._published: list[dict[str, Any]] = []
        self._by_header: dict[str, jwt.PyJWK] = {}

    def claims_of(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token that we signed and that has not expired, or None."""
        try:
            claims = self._signed(token)
        except (jwt.PyJWTError, msgspec.MsgspecError, ValueError, TypeError, RecursionError):
            return None
        if claims is None or not claims.keys() >= _REQUIRED or claims["iss"] != self._issuer:
            return None
        audience = claims["aud"]
        meant = {audience} if isinstance(audience, str) else set(audience)
        is_ours = not meant.isdisjoint(self._audiences)
        return claims if is_ours and claims["exp"] > datetime.now(UTC).timestamp() else None

    def _signed(self, token: str) -> dict[str, Any] | None:
        """Return what a key of ours has signed, or None. Raises what reading it may raise."""
        head, claims, signature = token.split(".")
        key = self._key(head)
        if key is None:
            return None
        message = f"{head}.{claims}".encode("ascii")
        if not key.Algorithm.verify(message, key.key, base64url.decode(signature.encode("ascii"))):
            return None
        # Remembered now that it is known to be ours, so that nobody can fill this.
        self._by_header[head] = key
        return _decode(base64url.decode(claims.encode("ascii")))

    def is_live(self, claims: dict[str, Any]) -> bool:
        """Tell whether nothing has happened to the client since that ends the token."""
        client = self._find(claims["client_id"])
        if client is None or state_of(client, datetime.now(UTC)) is not None:
            return False
        if client.not_before is not None and claims["iat"] < client.not_before.timestamp():
            return False
        return all(one.jti != claims["jti"] for one in client.revoked)

    def _key(self, head: str) -> jwt.PyJWK | None:
        """Return the published key that a header names, if it is a header of ours."""
        published = self._keys.published()
        if published is not self._published:
            # Keys have come or gone, and what was known of headers with them.
            self._published, self._by_header = published, {}
        if head in self._by_header:
            return self._by_header[head]
        header = jwt.get_unverified_header(f"{head}..")
        found = next((one for one in published if one["kid"] == header.get("kid")), None)
        if found is None or header.get("typ") != "at+jwt" or header.get("alg") != found["alg"]:
            return None
        return jwt.PyJWK.from_dict(found)
