"""An API that takes our access tokens, and refuses them the moment they are withdrawn.

    python docs/examples/protected_api.py CLIENT_ID CLIENT_SECRET

The client is the API's own, with the scope `events:read`. With RabbitMQ, name it in `AMQP_URL`, as
the user `subscriber`. Then, with a token of any other client:

    curl -H "Authorization: Bearer $TOKEN" http://localhost:8010/orders
"""
# ruff: noqa: INP001 - a script that stands alone, in no package

import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shared.guard import Guard
from shared.resource_server import ResourceServer

TOKENS = os.environ.get("TOKENS", "http://localhost:8002")
REGISTRY = os.environ.get("REGISTRY", "http://localhost:8001")
API = os.environ.get("API", "http://localhost:8010")
AMQP_URL = os.environ.get("AMQP_URL")


async def orders(request: Request) -> JSONResponse:
    """Answer with who asks."""
    token = request.state.access_token
    return JSONResponse({"orders": [], "for": token.client_id})


def create_app(client_id: str, client_secret: str) -> ResourceServer:
    """Return the API behind its guard."""
    guard = Guard(
        tokens=TOKENS,
        registry=REGISTRY,
        # Tokens for the registry's API; with a resource of one's own in config.yml, its name.
        audience=REGISTRY,
        client_id=client_id,
        client_secret=client_secret,
        amqp_url=AMQP_URL,
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with guard:
            yield

    api = Starlette(routes=[Route("/orders", orders)], lifespan=lifespan)
    return guard.around(api, url=API, scope_of=lambda _method, _path: "applications:read")


if __name__ == "__main__":
    # It tells of a lost connection in a stack trace; the guard says it in a line.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    port = int(API.rpartition(":")[2])
    uvicorn.run(create_app(*sys.argv[1:3]), host="127.0.0.1", port=port, log_level="warning")
