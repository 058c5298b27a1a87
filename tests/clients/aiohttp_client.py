"""Prints a token that aiohttp-oauth2-client obtains."""

import asyncio
import sys

from aiohttp_oauth2_client.grant.client_credentials import ClientCredentialsGrant

url, client_id, secret = sys.argv[1:]


async def main() -> None:
    async with ClientCredentialsGrant(
        token_url=f"{url}/oauth2-token",
        client_id=client_id,
        client_secret=secret,
        scope="events:read",
    ) as grant:
        await grant.fetch_token()
        print(grant.token.access_token)


asyncio.run(main())
