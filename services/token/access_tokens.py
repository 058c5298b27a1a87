"""Access tokens as JWTs (RFC 9068)."""

import secrets
import time
from base64 import urlsafe_b64encode
from typing import Any

import msgspec

from services.token.grant import Target
from services.token.keys import SigningKey
from shared.clients import ClientRecord

_encode = msgspec.json.Encoder().encode


class AccessTokens:
    """Signs what a client is granted."""

    def __init__(self, *, issuer: str, lifetime_seconds: int) -> None:
        self._issuer = issuer
        self._lifetime_seconds = lifetime_seconds
        self._headers: dict[str, bytes] = {}

    def lifetime_of(self, client: ClientRecord, target: Target, now: float) -> int:
        """Return for how many whole seconds a token is good.

        The shorter of what application and resource say; not beyond the client's end.
        """
        own = [one for one in (client.token_seconds, target.lifetime_seconds) if one is not None]
        seconds = min(own, default=self._lifetime_seconds)
        if client.expires_at is None:
            return seconds
        return min(seconds, int(client.expires_at.timestamp() - now))

    def sign(
        self,
        key: SigningKey,
        client: ClientRecord,
        scope: str,
        lifetime_seconds: int,
        *,
        audience: str | tuple[str, ...],
        thumbprint: str | None = None,
    ) -> str:
        """Return a token: the claims of RFC 9068, section 2.2, and `org` and `owner`.

        With a thumbprint it is bound to that key (`cnf`, RFC 9449, section 6).
        """
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "sub": client.client_id,
            "aud": audience,
            "client_id": client.client_id,
            "iat": now,
            "exp": now + lifetime_seconds,
            "jti": secrets.token_urlsafe(16),
            "scope": scope,
            "org": client.organization_id,
            "owner": client.owner_id,
        }
        if thumbprint is not None:
            claims["cnf"] = {"jkt": thumbprint}
        message = self._header(key) + b"." + _base64url(_encode(claims))
        return (message + b"." + _base64url(key.sign(message))).decode("ascii")

    def _header(self, key: SigningKey) -> bytes:
        """Return the JOSE header, made once for each key there has been."""
        header = self._headers.get(key.kid)
        if header is None:
            header = _base64url(_encode({"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid}))
            self._headers[key.kid] = header
        return header


def _base64url(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")
