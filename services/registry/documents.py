"""`/schemas/{type}.json` and `/asyncapi.json`: for everybody, without a token."""

from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.registry.schemas import TYPES, asyncapi, schema_of
from shared.problem import Problem
from shared.web import json_response

CACHING = {"Cache-Control": "public, max-age=300"}


def document_routes(public_url: str) -> list[Route]:
    """Return the routes."""

    async def schema(request: Request) -> Response:
        name = TYPES.get(request.path_params["type"])
        if name is None:
            known = ", ".join(TYPES)
            raise Problem(404, f"There is no such type of event; there are: {known}.")
        document = schema_of(name, public_url)
        return json_response(document, headers=CACHING, media_type="application/schema+json")

    async def description(_request: Request) -> Response:
        return json_response(asyncapi(public_url, version("oauthapps")), headers=CACHING)

    return [
        Route("/schemas/{type}.json", schema, methods=["GET"]),
        Route("/asyncapi.json", description, methods=["GET"]),
    ]
