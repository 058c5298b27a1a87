"""The OpenAPI 3.1 document of the notifier's API, for everybody, without a token."""

import inspect
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.notifier.rest import (
    QUERY,
    READ,
    WRITE,
    NotificationPage,
    NotificationsApi,
    NotificationView,
)
from shared.config import Settings
from shared.problem import PROBLEM_MEDIA_TYPE, PROBLEM_SCHEMA
from shared.web import json_response

_SCHEMAS = "#/components/schemas/"
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_PAGE = [{"name": name, "in": "query", "schema": dict(schema)} for name, schema in QUERY.items()]


def openapi_route(settings: Settings) -> Route:
    """Return `/openapi.json`."""
    described = document(settings)

    async def openapi(_request: Request) -> Response:
        return json_response(described, headers={"Cache-Control": "public, max-age=300"})

    return Route("/openapi.json", openapi, methods=["GET"])


def document(settings: Settings) -> dict[str, Any]:
    """Return the document."""
    api, one = NotificationsApi, "/api/notifications/{id}"
    schemas = msgspec.json.schema_components(
        [NotificationPage, NotificationView], ref_template=_SCHEMAS + "{name}"
    )[1]
    flow = {
        "tokenUrl": f"{settings.issuer}/oauth2-token",
        "scopes": {
            name: scope.description
            for name, scope in settings.scopes.items()
            if name in (READ, WRITE)
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "oauthapps notifier",
            "version": version("oauthapps"),
            "description": "The mails that events asked for.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": settings.notifier_public_url}],
        "paths": {
            "/api/notifications": {
                "get": _operation(api.list_notifications, READ, _PAGE, NotificationPage, [400])
            },
            one: {"get": _operation(api.show_notification, READ, [_ID], refusals=[404])},
            one + "/retry": {
                "post": _operation(api.retry_notification, WRITE, [_ID], refusals=[404, 409])
            },
            one + "/discard": {
                "post": _operation(api.discard_notification, WRITE, [_ID], refusals=[404, 409])
            },
        },
        "components": {
            "schemas": {**schemas, "Problem": PROBLEM_SCHEMA},
            "securitySchemes": {"oauth2": {"type": "oauth2", "flows": {"clientCredentials": flow}}},
        },
    }


def _operation(
    handler: Callable[..., Any],
    scope: str,
    parameters: Sequence[dict[str, Any]],
    answer: type[msgspec.Struct] = NotificationView,
    refusals: Sequence[int] = (),
) -> dict[str, Any]:
    schema = {"schema": {"$ref": _SCHEMAS + answer.__name__}}
    refusal = {
        "description": "Refused; the problem says why and what to do.",
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS + "Problem"}}},
    }
    return {
        "operationId": handler.__name__,
        "summary": inspect.getdoc(handler),
        "security": [{"oauth2": [scope]}],
        "parameters": list(parameters),
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": schema}},
            **{str(status): refusal for status in sorted({401, 403, 503, *refusals})},
        },
    }
