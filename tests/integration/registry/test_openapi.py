"""The OpenAPI document says what the registry does: what it answers fits what is written there."""

from typing import Any

import jsonschema
import pytest

from tests.integration.registry.api import Api


async def document(api: Api) -> dict[str, Any]:
    """Return the document, as anybody gets it."""
    answer = await api.http.get("/openapi.json", headers={"Authorization": ""})
    assert answer.status_code == 200
    described: dict[str, Any] = answer.json()
    return described


async def test_every_operation_is_described_and_every_reference_leads_somewhere(api: Api) -> None:
    """Generators of clients stop at the first that does not."""
    described = await document(api)

    schemas = described["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for reference in _references(described):
        kind, name = reference.removeprefix("#/components/").split("/")
        assert name in described["components"][kind]
    operations = [one for path in described["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations) == 29
    assert all(one["summary"].endswith(".") for one in operations)
    scopes = described["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    for one in operations:
        ((scope,),) = (required["oauth2"] for required in one["security"])
        assert scope in scopes["scopes"]


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        found = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return found + [one for value in part.values() for one in _references(value)]
    return [one for value in part for one in _references(value)] if isinstance(part, list) else []


@pytest.mark.parametrize(
    ("method", "path", "described_path", "body"),
    [
        ("GET", "/api/applications", "", None),
        ("POST", "/api/applications", "", {"name": "Another"}),
        ("POST", "/api/applications", "", {"name": ""}),
        ("GET", "/api/applications/{id}", "", None),
        ("PATCH", "/api/applications/{id}", "", {"name": "Renamed"}),
        ("PATCH", "/api/applications/{id}", "", {"title": "Renamed"}),
        ("POST", "/api/applications/{id}/deactivate", "", None),
        ("POST", "/api/applications/{id}/rotate-secret", "", {"overlap": "1h"}),
        ("POST", "/api/applications/{id}/revoke-tokens", "", None),
        ("GET", "/api/applications/{id}/events", "", None),
        ("GET", "/api/applications/none", "/api/applications/{id}", None),
        ("GET", "/api/events?after=0", "/api/events", None),
        ("GET", "/api/events?after=x", "/api/events", None),
        ("DELETE", "/api/applications/{id}", "", None),
        ("GET", "/api/users", "", None),
    ],
)
async def test_what_is_answered_fits_the_document(
    api: Api, method: str, path: str, described_path: str, body: object
) -> None:
    """Status, type and shape; also where the answer is no."""
    created = await api.create()
    described = await document(api)
    operation = described["paths"][described_path or path][method.lower()]

    answer = await api.http.request(
        method, path.replace("{id}", created["id"]), json=body if body is not None else None
    )

    promised = operation["responses"][str(answer.status_code)]
    if "content" not in promised:
        assert answer.content == b""
        return
    content = promised["content"][answer.headers["content-type"]]
    schema = {**content["schema"], "components": described["components"]}
    jsonschema.validate(answer.json(), schema)
