"""`oauthapps organizations`: the organizations of the directory, for operators."""

from dataclasses import asdict
from typing import Annotated

import typer

from services.registry.desk import Desk, Json, run_at_desk
from services.registry.directory import Organization
from services.registry.directory_decisions import OrganizationChange
from shared.console import show, show_one

organizations = typer.Typer(help="Organizations of the directory.")
Reference = Annotated[str, typer.Argument(metavar="NAME", help="Its name or id.")]


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
        context,
        lambda desk: desk.changes.add_organization(
            name, desk.author(), global_access=global_access
        ),
    )
    show_one(asdict(added), as_json=as_json)


@organizations.command("list")
def list_organizations(context: typer.Context, *, as_json: Json = False) -> None:
    """List the organizations."""
    rows = [
        asdict(one) for one in run_at_desk(context, lambda desk: desk.directory.organizations())
    ]
    show(rows, ["id", "name", "global_access", "active"], as_json=as_json)


@organizations.command("show")
def show_organization(context: typer.Context, name: Reference, *, as_json: Json = False) -> None:
    """Show one organization."""
    found = run_at_desk(context, lambda desk: desk.directory.organization(name))
    show_one(asdict(found), as_json=as_json)


@organizations.command("rename")
def rename_organization(
    context: typer.Context,
    name: Reference,
    new_name: Annotated[str, typer.Argument(help="What it is called from now on.")],
    *,
    as_json: Json = False,
) -> None:
    """Give an organization another name."""
    _change(context, name, OrganizationChange(name=new_name), as_json=as_json)


@organizations.command("grant-global-access")
def grant_global_access(context: typer.Context, name: Reference, *, as_json: Json = False) -> None:
    """Let the administrators of an organization see and change everything."""
    _change(context, name, OrganizationChange(global_access=True), as_json=as_json)


@organizations.command("revoke-global-access")
def revoke_global_access(context: typer.Context, name: Reference, *, as_json: Json = False) -> None:
    """Let the administrators of an organization see and change what is theirs only."""
    _change(context, name, OrganizationChange(global_access=False), as_json=as_json)


@organizations.command("disable")
def disable_organization(context: typer.Context, name: Reference, *, as_json: Json = False) -> None:
    """Disable an organization and deactivate its applications."""
    _turn(context, name, active=False, as_json=as_json)


@organizations.command("enable")
def enable_organization(context: typer.Context, name: Reference, *, as_json: Json = False) -> None:
    """Enable an organization; its applications stay as they are."""
    _turn(context, name, active=True, as_json=as_json)


def _change(
    context: typer.Context, name: str, change: OrganizationChange, *, as_json: bool
) -> None:
    async def work(desk: Desk) -> Organization:
        found = await desk.directory.organization(name)
        return await desk.changes.change_organization(found.id, change, desk.author())

    show_one(asdict(run_at_desk(context, work)), as_json=as_json)


def _turn(context: typer.Context, name: str, *, active: bool, as_json: bool) -> None:
    async def work(desk: Desk) -> Organization:
        found = await desk.directory.organization(name)
        return await desk.switch.organization(found.id, desk.author(), active=active)

    show_one(asdict(run_at_desk(context, work)), as_json=as_json)
