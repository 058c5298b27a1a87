"""The OpenAPI 3.1 document, made from the operations that are served."""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from services.registry.keyed_requests import HEADER, PATTERN
from services.registry.operations import CLOUDEVENTS, HISTORY, NOTHING, Operation
from shared.config import Settings
from shared.problem import PROBLEM_MEDIA_TYPE, PROBLEM_SCHEMA

_SCHEMAS = "#/components/schemas/"


def document(operations: Sequence[Operation], settings: Settings, version: str) -> dict[str, Any]:
    """Return the OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = dict(_COMPONENTS)
    schemas["Scope"] = {"type": "string", "enum": list(settings.scopes)}
    answers = {one.answer for one in operations if isinstance(one.answer, type)}
    schemas.update(
        msgspec.json.schema_components(
            sorted(answers, key=lambda one: one.__name__), ref_template=_SCHEMAS + "{name}"
        )[1]
    )
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
        if one.body is not None:
            body = one.body.model_json_schema(ref_template=_SCHEMAS + "{model}")
            schemas.update(body.pop("$defs", {}))
            for schema in body["properties"].get("scopes", {}).get("anyOf", ()):
                if "items" in schema:
                    # Which there are is for config.yml to say, not for the code.
                    schema["items"] = {"$ref": _SCHEMAS + "Scope"}
            schemas[one.body.__name__] = body
    flow = {
        "tokenUrl": f"{settings.issuer}/oauth2-token",
        "scopes": {name: scope.description for name, scope in settings.scopes.items()},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "oauthapps registry",
            "version": version,
            "description": (
                "Applications and their credentials. The caller acts as the owner of the "
                "application whose access token it presents."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": settings.public_url}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": _HEADERS,
            "securitySchemes": {"oauth2": {"type": "oauth2", "flows": {"clientCredentials": flow}}},
        },
    }


def _operation(one: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Done.", "headers": _headers(_ALWAYS)}
    if one.method == "POST":
        answer["headers"] |= _headers(["Idempotency-Replayed"])
    if one.answer is not NOTHING:
        name = one.answer if isinstance(one.answer, str) else one.answer.__name__
        answer["content"] = {one.answer_type: {"schema": {"$ref": _SCHEMAS + name}}}
    if one.stream_type is not None:
        answer["content"][one.stream_type] = {"schema": {"type": "string"}}
    refusals = {400, 401, 403, 429, 503, *one.refusals}
    if one.method == "POST":
        # Of the Idempotency-Key: still being worked on, come with another request; and its body.
        refusals |= {408, 409, 413, 422}
    if "{" in one.path:
        refusals.add(404)
    if one.conditional:
        refusals |= {409, 412}
    if one.body is not None:
        refusals |= {408, 413, 415, 422}
    described: dict[str, Any] = {
        "operationId": one.handler.__name__,
        "summary": inspect.getdoc(one.handler),
        "security": [{"oauth2": [one.scope]}],
        "parameters": _parameters(one),
        "responses": {
            str(one.status): answer,
            **{str(status): _refusal(status) for status in sorted(refusals)},
        },
    }
    if one.body is not None:
        described["requestBody"] = {
            "required": not one.body_is_optional,
            "content": {one.body_type: {"schema": {"$ref": _SCHEMAS + one.body.__name__}}},
        }
    return described


def _parameters(one: Operation) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": part[1:-1],
            "in": "path",
            "required": True,
            "schema": {"type": "string", "format": "uuid"},
        }
        for part in one.path.split("/")
        if part.startswith("{")
    ]
    parameters += [
        {"name": name, "in": "query", "schema": dict(schema)} for name, schema in one.query.items()
    ]
    if one.conditional:
        version = {"type": "string", "examples": ['"1"']}
        parameters.append({"name": "If-Match", "in": "header", "schema": version})
    if one.method == "POST":
        parameters.append(_IDEMPOTENCY_KEY)
    return parameters


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _refusal(status: int) -> dict[str, Any]:
    return {
        "description": "Refused; the problem says why and what to do.",
        "headers": _headers([*_ALWAYS, *(["Retry-After"] if status in _RETRIED else [])]),
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS + "Problem"}}},
    }


_FACT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "type": {"type": "string"},
        "time": {"type": "string", "format": "date-time"},
        "position": {"type": "integer"},
        "version": {"type": "integer"},
        "actor": {"type": "string"},
        "by": {"type": ["string", "null"]},
        "data": {"type": "object", "description": "As in the public event; see docs/events.md"},
    },
    "required": ["id", "type", "time", "position", "version", "actor", "by", "data"],
}
_COMPONENTS = {
    "Problem": PROBLEM_SCHEMA,
    HISTORY: {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": _FACT},
            "next_cursor": {"type": "null"},
        },
        "required": ["items", "next_cursor"],
    },
    CLOUDEVENTS: {
        "type": "array",
        "description": "CloudEvents; the schema of each is at /schemas/{type}.json",
        "items": {
            "type": "object",
            "required": ["specversion", "id", "source", "type", "sequence", "logepoch", "data"],
        },
    },
}
_IDEMPOTENCY_KEY = {
    "name": HEADER,
    "in": "header",
    "description": (
        "Drawn by the caller for this request, best a UUID. The same request with the same key, "
        "sent again, is done once and answered the same again."
    ),
    "schema": {
        "type": "string",
        "pattern": PATTERN,
        "examples": ["5f1c7d0a-3b52-4a5e-9c11-0e6d1b7a2f43"],
    },
}
# In every answer to a caller who is known, unless there is no limit.
_ALWAYS = ("RateLimit", "RateLimit-Policy")
_RETRIED = frozenset({409, 429, 503})
_HEADERS = {
    "RateLimit": {
        "description": "What is left of the limit, and the seconds until it is whole again",
        "schema": {"type": "string", "examples": ['"reads";r=5999;t=1']},
    },
    "RateLimit-Policy": {
        "description": "The limit that the request counts for, and its window in seconds",
        "schema": {"type": "string", "examples": ['"reads";q=6000;w=60']},
    },
    "Retry-After": {
        "description": "Seconds after which it is worth trying again",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Idempotency-Replayed": {
        "description": "There when this is the answer of an earlier request with the same key",
        "schema": {"const": "true"},
    },
}
