"""What the example's Ingress lets in, held against the routes of the running services."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr
from starlette.applications import Starlette

from services.registry.app import create_app as create_registry
from services.token.app import create_app as create_token_service
from shared.config import Settings
from shared.sections import Database, Registry, SignIn
from shared.service_credential import load_or_create
from tests.integration.registry.house import house_in
from tests.support.postgres import Databases

INGRESS = Path(__file__).parents[3] / "deploy/kubernetes/overlays/example/ingress.yaml"
NOT_FOR_THE_WORLD = ("/internal/", "/livez", "/readyz", "/metrics")


def paths_to(service: str) -> list[dict[str, Any]]:
    """Return the paths of the Ingress that lead to a service."""
    (ingress, *_) = yaml.safe_load_all(INGRESS.read_text(encoding="utf-8"))
    return [
        path
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
        if path["backend"]["service"]["name"] == service
    ]


def lets_in(service: str, path: str) -> bool:
    """Tell whether a request for a path is passed on, by the rules of the Ingress API."""
    for one in paths_to(service):
        prefix = one["path"].rstrip("/") + "/"
        if path == one["path"] or (one["pathType"] == "Prefix" and path.startswith(prefix)):
            return True
    return False


async def paths_of(app: Starlette) -> set[str]:
    """Return the paths that a service knows once it has started."""
    async with app.router.lifespan_context(app):
        known = {route.path for route in app.router.routes if hasattr(route, "path")}
        return known | set(getattr(app, "endpoints", ()))


async def test_the_ingress_lets_in_what_is_for_the_world(
    databases: Databases, tmp_path: Path
) -> None:
    """Each path that the services know, but for their own ways and those of the operator."""
    load_or_create(tmp_path / "service_credential")
    async with house_in(databases) as house:
        settings = Settings(
            var=tmp_path,
            registry=Registry(
                database=Database(url=SecretStr(house.dsn)),
                sign_in=SignIn(
                    issuer="https://id.example.com",
                    client_id="registry",
                    client_secret=SecretStr("secret"),
                ),
            ),
        )
        found = {
            "registry": await paths_of(create_registry(settings)),
            "token": await paths_of(create_token_service(settings)),
        }

    for service, paths in found.items():
        assert {"/livez", "/readyz", "/metrics"} < paths
        let_in = {path for path in paths if lets_in(service, path)}
        assert let_in == {path for path in paths if not path.startswith(NOT_FOR_THE_WORLD)}
    assert "/internal/snapshot" in found["registry"]
    assert "/login/sso/callback" in found["registry"]
    assert "/oauth2-token" in found["token"]
