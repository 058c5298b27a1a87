"""Every variable that the containers are given, held against the settings."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from shared.config import ENVIRONMENT_PREFIX, OTHER_VARIABLES, Settings
from shared.web import health_routes

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE = DEPLOY / "docker-compose.yml"
PORTS = {"8001", "8002", "8003"}


def is_setting(variable: str) -> bool:
    """Tell whether a variable is one that the services read."""
    model: Any = Settings
    for part in variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"):
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            # Of a table such as `scopes`: its names are free.
            return True
        field = model.model_fields.get(part)
        if field is None:
            return False
        model = field.annotation
    return True


def variables() -> Iterator[tuple[str, str]]:
    """Yield file and name of each variable of ours that is set for a container."""
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    for service in services.values():
        given = service.get("environment", {})
        names = given if isinstance(given, dict) else [one.partition("=")[0] for one in given]
        yield from ((COMPOSE.name, name) for name in names if name.startswith(ENVIRONMENT_PREFIX))
    for path in (DEPLOY / "Dockerfile", *(DEPLOY / "kubernetes").rglob("*")):
        if path.is_file() and "secrets" not in path.parts:
            text = path.read_text(encoding="utf-8")
            for name in re.findall(rf"\b({ENVIRONMENT_PREFIX}[A-Z0-9_]+)=", text):
                yield path.name, name


def test_every_variable_is_a_setting() -> None:
    """One that is none stops the start, or does nothing and nobody learns of it."""
    found = set(variables())

    assert {file for file, _ in found} == {"docker-compose.yml", "Dockerfile", "site.env"} | {
        "rotate-keys"
    }
    unknown = [one for one in found if one[1] not in OTHER_VARIABLES and not is_setting(one[1])]
    assert unknown == []


@pytest.mark.parametrize(
    ("variable", "known"),
    [
        ("OAUTHAPPS_TOKEN__MAX_STALENESS", True),
        ("OAUTHAPPS_REGISTRY__DATABASE__URL", True),
        ("OAUTHAPPS_REGISTRY__DATABASE_URL", False),
        ("OAUTHAPPS_REGISTRY_SERVICE_HOST", False),
        ("OAUTHAPPS_TOKEN__MAX_STALE", False),
    ],
)
def test_a_wrong_name_is_seen(variable: str, *, known: bool) -> None:
    """A check that never fires holds nothing."""
    assert is_setting(variable) == known


def test_every_health_check_of_the_containers_asks_for_a_path_that_is_there() -> None:
    """A container that is never healthy holds up all that wait for it."""
    text = COMPOSE.read_text(encoding="utf-8")
    asked = re.findall(r"(?:127\.0\.0\.1|localhost):(800\d)(/\w+)", text)

    assert {path for _, path in asked} <= {route.path for route in health_routes("any", {})}
    assert {port for port, _ in asked} <= PORTS
