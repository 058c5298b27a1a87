"""The command line of the registry's service; what it keeps has command lines of its own."""

from typing import Annotated

import typer

from services.registry.app import create_app
from shared.config import with_port
from shared.server import bind, run
from shared.workers import serve_with_workers

registry = typer.Typer(help="The registry: pages, REST API, log and feeds.")


@registry.callback()
def _registry() -> None:
    """Keep `serve` a sub-command although it is the only one."""


@registry.command("serve")
def serve_registry(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer.")] = 1,
) -> None:
    """Serve the registry, with one or several worker processes."""
    settings = with_port(context.obj, "registry", port)
    listener = bind(host or settings.registry.host, settings.registry.port, option="--port")
    # Also for several: what is wrong with the configuration is said once, here.
    app = create_app(settings)
    if workers == 1:
        run(app, listener, settings.server)
    else:
        serve_with_workers(listener, workers, factory="services.registry.app:from_environment")
