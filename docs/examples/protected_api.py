"""An API that takes our access tokens, and refuses them the moment they are withdrawn.

    python docs/examples/protected_api.py CLIENT_ID CLIENT_SECRET

The client is the API's own, with the scope `events:read`. Then, with a token of any other client:

    curl -H "Authorization: Bearer $TOKEN" http://localhost:8010/orders
"""
# ruff: noqa: INP001 - a script that stands alone, in no package

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shared.config import Subscription as Settings
from shared.public_feed import PublicFeed
from shared.resource_server import BearerVerifier, Possession, ResourceServer
from shared.subscription import Subscription
from shared.withdrawals import Withdrawals

TOKENS = os.environ.get("TOKENS", "http://localhost:8002")
REGISTRY = os.environ.get("REGISTRY", "http://localhost:8001")
API = os.environ.get("API", "http://localhost:8010")


async def orders(request: Request) -> JSONResponse:
    """Answer with who asks."""
    token = request.state.access_token
    return JSONResponse({"orders": [], "for": token.client_id})


def create_app(client_id: str, client_secret: str) -> ResourceServer:
    """Return the API behind the middleware."""
    # Tokens for the registry's API; with a resource of one's own in config.yml, its name.
    verifier = BearerVerifier(f"{TOKENS}/.well-known/jwks.json", issuer=TOKENS, audience=REGISTRY)
    feed = PublicFeed(
        REGISTRY,
        token_url=f"{TOKENS}/oauth2-token",
        client_id=client_id,
        client_secret=client_secret,
    )
    withdrawals = Withdrawals(feed, lifetime=timedelta(hours=1), max_staleness=timedelta(minutes=5))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(Subscription(withdrawals, feed, Settings()).run())
        yield
        following.cancel()
        await verifier.aclose()
        await feed.aclose()

    return ResourceServer(
        Starlette(routes=[Route("/orders", orders)], lifespan=lifespan),
        verifier=verifier,
        possession=Possession(API),
        withdrawals=withdrawals,
        scope_of=lambda _method, _path: "applications:read",
    )


if __name__ == "__main__":
    port = int(API.rpartition(":")[2])
    uvicorn.run(create_app(*sys.argv[1:3]), host="127.0.0.1", port=port, log_level="warning")
