"""How the token service tells the registry that a client revoked one of its access tokens."""

from datetime import datetime

import msgspec


class TokenRevocation(msgspec.Struct, frozen=True, kw_only=True):
    """An access token by its `jti`, and until when it would have been good."""

    application_id: str
    jti: str
    expires_at: datetime
