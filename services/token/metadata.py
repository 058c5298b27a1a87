"""The authorization server's metadata (RFC 8414)."""

from typing import Any
from urllib.parse import urlsplit

from services.token.grant import CLIENT_CREDENTIALS
from shared.config import Settings
from shared.jwk import ALGORITHMS

WELL_KNOWN = "/.well-known/oauth-authorization-server"


def metadata_path(issuer: str) -> str:
    """Return where the metadata is: the well-known segment before the issuer's path (section 3)."""
    return WELL_KNOWN + urlsplit(issuer).path.rstrip("/")


def metadata_of(settings: Settings, algorithm: str | None) -> dict[str, Any]:
    """Return the members (section 2); what would be empty is left out (section 3.2).

    `algorithm` is how access tokens are signed now, None without keys.
    """
    base = settings.issuer.rstrip("/")
    members: dict[str, Any] = {
        "issuer": settings.issuer,
        "token_endpoint": f"{base}/oauth2-token",
        "jwks_uri": f"{base}/.well-known/jwks.json",
        "scopes_supported": sorted(settings.scopes),
        # Required, though there is no authorization endpoint: nothing is ever returned from one.
        "response_types_supported": ["none"],
        "grant_types_supported": [CLIENT_CREDENTIALS],
        **_authentication("token"),
        "introspection_endpoint": f"{base}/introspect",
        **_authentication("introspection"),
        "revocation_endpoint": f"{base}/revoke",
        **_authentication("revocation"),
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
        # Not in the RFC's list, which has no member for it; section 2 allows others.
        "access_token_signing_alg_values_supported": [algorithm] if algorithm else [],
    }
    return {name: value for name, value in members.items() if value != []}


def _authentication(endpoint: str) -> dict[str, list[str]]:
    return {
        f"{endpoint}_endpoint_auth_methods_supported": [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ],
        f"{endpoint}_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
    }
