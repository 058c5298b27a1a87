"""The command line of the registry: serve, and the directory."""

import secrets
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from services.registry.app import create_app
from services.registry.desk import Desk, Json, run_at_desk
from services.registry.directory import Organization, User
from services.registry.withdrawal import withdraw
from shared.config import with_port
from shared.console import show, show_one
from shared.server import bind, run
from shared.workers import serve_with_workers

registry = typer.Typer(help="The registry: pages, REST API, log and feeds.")
organizations = typer.Typer(help="Organizations of the directory.")
users = typer.Typer(help="Users of the directory.")


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
        run(app, listener)
    else:
        serve_with_workers(listener, workers, factory="services.registry.app:from_environment")


@organizations.command("add")
def add_organization(
    context: typer.Context,
    name: str,
    *,
    global_access: Annotated[
        bool, typer.Option("--global-access", help="Its administrators see all organizations.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add an organization."""
    added = run_at_desk(
        context, lambda desk: desk.directory.add_organization(name, global_access=global_access)
    )
    show_one(asdict(added), as_json=as_json)


@organizations.command("list")
def list_organizations(context: typer.Context, *, as_json: Json = False) -> None:
    """List the organizations."""
    rows = [
        asdict(one) for one in run_at_desk(context, lambda desk: desk.directory.organizations())
    ]
    show(rows, ["id", "name", "global_access", "active"], as_json=as_json)


@organizations.command("disable")
def disable_organization(context: typer.Context, name: str, *, as_json: Json = False) -> None:
    """Disable an organization and deactivate its applications."""

    async def work(desk: Desk) -> Organization:
        found = await desk.directory.organization(name)
        await desk.directory.set_organization_active(found.id, active=False)
        await withdraw(desk.store, desk.views, desk.context())
        return await desk.directory.organization(found.id)

    show_one(asdict(run_at_desk(context, work)), as_json=as_json)


@organizations.command("enable")
def enable_organization(context: typer.Context, name: str, *, as_json: Json = False) -> None:
    """Enable an organization; its applications stay as they are."""

    async def work(desk: Desk) -> Organization:
        found = await desk.directory.organization(name)
        await desk.directory.set_organization_active(found.id, active=True)
        return await desk.directory.organization(found.id)

    show_one(asdict(run_at_desk(context, work)), as_json=as_json)


@users.command("add")
def add_user(
    context: typer.Context,
    email: str,
    name: Annotated[str, typer.Option(help="The person's name.")],
    organization: Annotated[list[str], typer.Option(help="Name or id; may be repeated.")],
    *,
    administrator: Annotated[bool, typer.Option("--administrator")] = False,
    locale: Annotated[str, typer.Option(help="Language of mail, such as en or de.")] = "en",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add a user; without --password-stdin a password is made and printed once."""
    given = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    password = secrets.token_urlsafe(18) if given is None else given
    user = run_at_desk(
        context,
        lambda desk: desk.directory.add_user(
            email,
            name=name,
            organizations=organization,
            administrator=administrator,
            locale=locale,
            password=password,
        ),
    )
    row = _user_row(user)
    show_one(row if given is not None else {**row, "password": password}, as_json=as_json)


@users.command("list")
def list_users(context: typer.Context, *, as_json: Json = False) -> None:
    """List the users."""
    rows = [_user_row(one) for one in run_at_desk(context, lambda desk: desk.directory.users())]
    columns = ["id", "email", "name", "organizations", "administrator", "active"]
    show(rows, columns, as_json=as_json)


@users.command("disable")
def disable_user(context: typer.Context, email: str, *, as_json: Json = False) -> None:
    """Disable a user and deactivate the user's applications."""

    async def work(desk: Desk) -> User:
        user = await desk.directory.user(email)
        await desk.directory.set_user_active(user.id, active=False)
        await withdraw(desk.store, desk.views, desk.context())
        return await desk.directory.user(user.id)

    show_one(_user_row(run_at_desk(context, work)), as_json=as_json)


@users.command("enable")
def enable_user(context: typer.Context, email: str, *, as_json: Json = False) -> None:
    """Enable a user; the applications stay as they are."""

    async def work(desk: Desk) -> User:
        user = await desk.directory.user(email)
        await desk.directory.set_user_active(user.id, active=True)
        return await desk.directory.user(user.id)

    show_one(_user_row(run_at_desk(context, work)), as_json=as_json)


def _user_row(user: User) -> dict[str, Any]:
    return {
        **asdict(user),
        "organizations": [{"id": o.id, "name": o.name} for o in user.organizations],
    }
