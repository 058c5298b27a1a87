"""`/openapi.json`, `/asyncapi.json` and `/schemas/{type}.json`: for everybody, without a token."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.registry import openapi
from services.registry.operations import Operation
from services.registry.schemas import TYPES, asyncapi, schema_of
from shared.config import Settings
from shared.problem import Problem
from shared.web import json_response

CACHING = {"Cache-Control": "public, max-age=300"}


def document_routes(settings: Settings, operations: Sequence[Operation]) -> list[Route]:
    """Return the routes."""
    public_url = settings.public_url

    # Made for the first who asks: a service starts often, and few read this.
    @cache
    def rest_api() -> dict[str, Any]:
        return openapi.document(operations, settings, version("oauthapps"))

    async def schema(request: Request) -> Response:
        name = TYPES.get(request.path_params["type"])
        if name is None:
            known = ", ".join(TYPES)
            raise Problem(404, f"There is no such type of event; there are: {known}.")
        document = schema_of(name, public_url)
        return json_response(document, headers=CACHING, media_type="application/schema+json")

    async def description(_request: Request) -> Response:
        return json_response(asyncapi(public_url, version("oauthapps")), headers=CACHING)

    async def rest(_request: Request) -> Response:
        return json_response(rest_api(), headers=CACHING)

    return [
        Route("/openapi.json", rest, methods=["GET"]),
        Route("/schemas/{type}.json", schema, methods=["GET"]),
        Route("/asyncapi.json", description, methods=["GET"]),
    ]
