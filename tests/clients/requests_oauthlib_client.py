"""Prints tokens that requests-oauthlib obtains: by Basic and by the body."""

import sys

from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session

url, client_id, secret = sys.argv[1:]
for include in (None, True):
    with OAuth2Session(client=BackendApplicationClient(client_id=client_id)) as session:
        token = session.fetch_token(
            f"{url}/oauth2-token",
            client_id=client_id,
            client_secret=secret,
            include_client_id=include,
            scope=["events:read"],
        )
    print(token["access_token"])
