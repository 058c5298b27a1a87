"""Who may import whom. The design's rules, held against every import there is."""

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("registry", "token", "notifier", "embedded")
MAIN = "services.__main__"
# Of the command line as a whole.
COMMANDS = frozenset(
    {MAIN, "services.up", "services.migration", "services.failure", "services.erasure"}
)
# The modules that speak HTTP.
WEB = frozenset(
    {"app", "rest", "internal", "web", "routes", "documents", "refusals", "queries", "openapi"}
    | {
        "introspection",
        "events_rest",
        "callers",
        "bodies",
        "operations",
        "preconditions",
        "event_stream",
        "list_queries",
        "edge",
        "idempotency",
        "recovery",
    }
    | {"administrators", "organizations_rest", "users_rest", "directory_audit_rest"}
    | {"endpoint", "authentication", "revocation", "dpop"}
    # The pages.
    | {"site", "forms", "entrance", "sign_in", "grids", "listings", "additions"}
    | {"application_pages", "password_page"}
    | {"preview"}
)
SHARED_WEB = frozenset(
    f"shared.{one}"
    for one in (
        "web",
        "server",
        "proxies",
        "cors",
        "resource_server",
        "guard",
        "queries",
        "secure_headers",
        "request_context",
    )
)
# A library → the only modules that know it.
ONLY_IN = {
    "aio_pika": {"shared.bus"},
    "aiosmtplib": {"services.notifier.smtp"},
    "authlib": {"services.registry.pages.provider"},
    "opentelemetry": {"shared.telemetry"},
    "lmdb": {"services.token.projection", "services.token.replays"},
}
# The token service's state is the record that the registry's snapshot carries: a form of its own
# would only have to be converted, so its domain may know that one record.
MORE_FOR_DOMAIN = {"services.token.domain": {"shared.clients"}}


def module_name(path: Path) -> str:
    """Return the dotted name of a file below the root."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str) -> Iterator[str]:
    """Yield every module that a source imports, wherever in it; relative ones with their dots."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            # `from services.token import keys` imports services.token.keys.
            if module.startswith(("services", "shared", ".")):
                yield from (f"{module}.{one.name}" for one in node.names)


def is_in(imported: str, package: str) -> bool:
    """Tell whether a module is a package or in it."""
    return imported == package or imported.startswith(package + ".")


def service_of(module: str) -> str | None:
    """Return the service that a module belongs to."""
    parts = module.split(".")
    return parts[1] if parts[0] == "services" and parts[1:2] and parts[1] in SERVICES else None


def is_relative(_module: str, imported: str) -> bool:
    """Relative imports would escape the other rules."""
    return imported.startswith(".")


def is_shared_on_services(module: str, imported: str) -> bool:
    """`shared` never imports `services`."""
    return is_in(module, "shared") and is_in(imported, "services")


def is_between_services(module: str, imported: str) -> bool:
    """Services never import each other; only the command line as a whole sees all of them."""
    other = service_of(imported)
    return module not in COMMANDS and other is not None and other != service_of(module)


def is_domain_on_world(module: str, imported: str) -> bool:
    """A domain knows the standard library and the events."""
    if service_of(module) is None or module.split(".")[2:] != ["domain"]:
        return False
    allowed = {"shared.events", *MORE_FOR_DOMAIN.get(module, ())}
    return imported.split(".", maxsplit=1)[0] not in sys.stdlib_module_names and not any(
        is_in(imported, one) for one in allowed
    )


def is_handler_on_world(module: str, imported: str) -> bool:
    """Handlers know their domain, the events and the ports that are passed in."""
    if service_of(module) is None or module.split(".")[2:] != ["handlers"]:
        return False
    service = f"services.{service_of(module)}"
    allowed = (f"{service}.domain", f"{service}.ports", "shared.events")
    return imported.split(".", maxsplit=1)[0] not in sys.stdlib_module_names and not any(
        is_in(imported, one) for one in allowed
    )


def is_library_elsewhere(module: str, imported: str) -> bool:
    """RabbitMQ, SMTP and LMDB have one door each."""
    return module not in ONLY_IN.get(imported.split(".", maxsplit=1)[0], {module})


def is_web_elsewhere(module: str, imported: str) -> bool:
    """Starlette is for the modules that speak HTTP."""
    if not is_in(imported, "starlette"):
        return False
    if module in SHARED_WEB:
        return False
    return service_of(module) is None or module.rsplit(".", maxsplit=1)[-1] not in WEB


def is_app_imported(module: str, imported: str) -> bool:
    """An `app` is imported by command lines only, those by no service, `__main__` by nobody."""
    if any(is_in(imported, one) for one in COMMANDS):
        return module not in COMMANDS or is_in(imported, MAIN)
    service = service_of(imported)
    if service is None or not is_in(imported, f"services.{service}.app"):
        return False
    return module not in {*COMMANDS, f"services.{service}.cli"}


RULES: tuple[Callable[[str, str], bool], ...] = (
    is_relative,
    is_shared_on_services,
    is_between_services,
    is_domain_on_world,
    is_handler_on_world,
    is_library_elsewhere,
    is_web_elsewhere,
    is_app_imported,
)

SOURCES = {
    module_name(path): path.read_text(encoding="utf-8")
    for folder in ("services", "shared")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_import_keeps_the_rule(rule: Callable[[str, str], bool]) -> None:
    """The shape of the house is what later work stands on."""
    broken = [
        f"{module} imports {imported}: {rule.__doc__}"
        for module, source in SOURCES.items()
        for imported in imports_of(source)
        if rule(module, imported)
    ]

    assert broken == []


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (is_relative, "services.token.app", "from . import keys"),
        (is_relative, "services.token.app", "from ..registry import domain"),
        (is_shared_on_services, "shared.bus", "def f():\n    import services.token.domain"),
        (is_between_services, "services.token.app", "from services.registry import domain"),
        (is_between_services, "services.token.app", "from services import registry"),
        (is_between_services, "services.token.app", "import services.embedded.child"),
        (is_domain_on_world, "services.registry.domain", "import msgspec"),
        (is_domain_on_world, "services.registry.domain", "from shared import credentials"),
        (is_domain_on_world, "services.registry.domain", "from shared.clients import checksum"),
        (is_domain_on_world, "services.token.domain", "from services.token import keys"),
        (is_handler_on_world, "services.registry.handlers", "from shared import postgres"),
        (is_handler_on_world, "services.registry.handlers", "import services.registry.app"),
        (is_library_elsewhere, "services.registry.relay", "import aio_pika.abc"),
        (is_library_elsewhere, "services.notifier.sender", "from aiosmtplib import SMTP"),
        (is_library_elsewhere, "services.token.projector", "import lmdb"),
        (is_library_elsewhere, "shared.tracing", "from opentelemetry.trace import Span"),
        (is_web_elsewhere, "services.registry.event_store", "import starlette"),
        (is_web_elsewhere, "shared.subscription", "from starlette.requests import Request"),
        (is_app_imported, "services.registry.rest", "from services.registry import app"),
        (is_app_imported, "services.registry.rest", "from services.registry.app import SCHEMA"),
        (is_app_imported, "services.registry.cli", "from services import __main__"),
        (is_app_imported, "services.up", "from services import __main__"),
        (is_app_imported, "services.registry.cli", "from services.migration import migrate_all"),
    ],
)
def test_what_breaks_a_rule_is_seen(
    rule: Callable[[str, str], bool], module: str, source: str
) -> None:
    """A rule that never fires holds nothing."""
    assert any(rule(module, imported) for imported in imports_of(source))


def test_the_walk_sees_the_house() -> None:
    """An empty walk would keep every rule."""
    assert {"services.registry.domain", "services.token.domain", "shared.bus", MAIN} <= set(SOURCES)
    assert "aio_pika" in set(imports_of(SOURCES["shared.bus"]))
