"""Access tokens as JWTs (RFC 9068)."""

import os
import time
from typing import Any

import msgspec

from services.token.grant import Target
from services.token.keys import SigningKey
from shared import base64url
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
        own, resource = client.token_seconds, target.lifetime_seconds
        if own is None or resource is None:
            seconds = own or resource or self._lifetime_seconds
        else:
            seconds = min(own, resource)
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
            "jti": base64url.encode(os.urandom(16)).decode("ascii"),
            "scope": scope,
            "org": client.organization_id,
            "owner": client.owner_id,
        }
        if thumbprint is not None:
            claims["cnf"] = {"jkt": thumbprint}
        message = self._header(key) + b"." + base64url.encode(_encode(claims))
        return (message + b"." + base64url.encode(key.sign(message))).decode("ascii")

    def _header(self, key: SigningKey) -> bytes:
        """Return the JOSE header, made once for each key there has been."""
        header = self._headers.get(key.kid)
        if header is None:
            header = base64url.encode(
                _encode({"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid})
            )
            self._headers[key.kid] = header
        return header
