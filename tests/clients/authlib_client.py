"""Prints tokens that Authlib obtains: by Basic and by the body, introspected and revoked."""

import sys

from authlib.integrations.requests_client import OAuth2Session

url, client_id, secret = sys.argv[1:]
for method in ("client_secret_basic", "client_secret_post"):
    with OAuth2Session(
        client_id,
        secret,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        scope="events:read",
    ) as session:
        endpoint = f"{url}/oauth2-token"
        token = session.fetch_token(endpoint, grant_type="client_credentials")
        other = session.fetch_token(endpoint, grant_type="client_credentials")
        assert session.introspect_token(f"{url}/introspect", other["access_token"]).json()["active"]
        session.revoke_token(f"{url}/revoke", other["access_token"]).raise_for_status()
        found = session.introspect_token(f"{url}/introspect", other["access_token"])
        assert found.json() == {"active": False}
        print(token["access_token"])
