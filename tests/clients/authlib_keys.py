"""Prints a token that Authlib obtains by private_key_jwt: URL CLIENT_ID KEY_FILE."""

import sys
from pathlib import Path

from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT

url, client_id, key = sys.argv[1:]
with OAuth2Session(
    client_id,
    Path(key).read_text(),
    token_endpoint_auth_method=PrivateKeyJWT.name,
    scope="events:read",
) as session:
    # The audience is the issuer.
    session.register_client_auth_method(PrivateKeyJWT(url))
    token = session.fetch_token(f"{url}/oauth2-token", grant_type="client_credentials")
    print(token["access_token"])
