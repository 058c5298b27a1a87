"""`oauthapps users`: the users of the directory and their memberships, for operators."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from services.registry.desk import Desk, Json, run_at_desk
from services.registry.directory import User
from services.registry.directory_changes import NewUser
from services.registry.directory_decisions import UserChange
from services.registry.passwords import new_password
from shared.console import show, show_one

users = typer.Typer(help="Users of the directory.")
Reference = Annotated[str, typer.Argument(metavar="EMAIL", help="Their e-mail address or id.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@users.command("add")
def add_user(
    context: typer.Context,
    email: str,
    name: Annotated[str, typer.Option(help="The person's name.")],
    organization: Annotated[list[str], typer.Option(help="Name or id; may be repeated.")],
    *,
    administrator: Annotated[bool, typer.Option("--administrator")] = False,
    locale: Annotated[str, typer.Option(help="Language of mail, such as en or de.")] = "en",
    time_zone: Annotated[
        str, typer.Option(help="Of times in mail, such as Europe/Berlin.")
    ] = "UTC",
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
) -> None:
    """Add a user; without --password-stdin a password is made and printed once."""
    password, shown = _password(given=password_stdin)
    new = NewUser(
        email=email,
        name=name,
        organizations=organization,
        administrator=administrator,
        locale=locale,
        time_zone=time_zone,
        password=password,
    )
    added = run_at_desk(context, lambda desk: desk.changes.add_user(new, desk.author()))
    show_one({**_row(added), **shown}, as_json=as_json)


@users.command("list")
def list_users(context: typer.Context, *, as_json: Json = False) -> None:
    """List the users."""
    rows = [_row(one) for one in run_at_desk(context, lambda desk: desk.directory.users())]
    columns = ["id", "email", "name", "organizations", "administrator", "active"]
    show(rows, columns, as_json=as_json)


@users.command("show")
def show_user(context: typer.Context, email: Reference, *, as_json: Json = False) -> None:
    """Show one user."""
    show_one(_row(run_at_desk(context, lambda desk: desk.directory.user(email))), as_json=as_json)


@users.command("update")
def update_user(
    context: typer.Context,
    email: Reference,
    new_email: Annotated[str | None, typer.Option("--email", help="Another address.")] = None,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    locale: Annotated[str | None, typer.Option(help="Language of mail, such as en or de.")] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Of times in mail, such as Europe/Berlin.")
    ] = None,
    *,
    administrator: Annotated[
        bool | None, typer.Option("--administrator/--no-administrator", help="Make one, or not.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change what is known of a user; what is not given stays."""
    change = UserChange(
        email=new_email,
        name=name,
        locale=locale,
        time_zone=time_zone,
        administrator=administrator,
    )
    _do(
        context,
        email,
        lambda desk, user: desk.changes.change_user(user.id, change, desk.author()),
        as_json=as_json,
    )


@users.command("set-password")
def set_password(
    context: typer.Context,
    email: Reference,
    *,
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
) -> None:
    """Give a user another password; without --password-stdin one is made and printed once."""
    password, shown = _password(given=password_stdin)
    _do(
        context,
        email,
        lambda desk, user: desk.changes.set_password(user.id, password, desk.author()),
        as_json=as_json,
        also=shown,
    )


@users.command("disable")
def disable_user(context: typer.Context, email: Reference, *, as_json: Json = False) -> None:
    """Disable a user and deactivate the user's applications."""
    _do(
        context,
        email,
        lambda desk, user: desk.switch.user(user.id, desk.author(), active=False),
        as_json=as_json,
    )


@users.command("enable")
def enable_user(context: typer.Context, email: Reference, *, as_json: Json = False) -> None:
    """Enable a user; the applications stay as they are."""
    _do(
        context,
        email,
        lambda desk, user: desk.switch.user(user.id, desk.author(), active=True),
        as_json=as_json,
    )


@users.command("join")
def join_organization(
    context: typer.Context,
    email: Reference,
    organization: Annotated[str, typer.Argument(help="Name or id.")],
    *,
    as_json: Json = False,
) -> None:
    """Make a user a member of an organization."""

    async def join(desk: Desk, user: User) -> User:
        found = await desk.directory.organization(organization)
        return await desk.changes.join(user.id, found.id, desk.author())

    _do(context, email, join, as_json=as_json)


@users.command("leave")
def leave_organization(
    context: typer.Context,
    email: Reference,
    organization: Annotated[str, typer.Argument(help="Name or id.")],
    *,
    as_json: Json = False,
) -> None:
    """End a user's membership; not the last one, and not where the user owns applications."""

    async def leave(desk: Desk, user: User) -> User:
        found = await desk.directory.organization(organization)
        return await desk.changes.leave(user.id, found.id, desk.author())

    _do(context, email, leave, as_json=as_json)


def _do(
    context: typer.Context,
    email: str,
    change: Callable[[Desk, User], Awaitable[User]],
    *,
    as_json: bool,
    also: dict[str, str] | None = None,
) -> None:
    async def work(desk: Desk) -> User:
        return await change(desk, await desk.directory.user(email))

    show_one({**_row(run_at_desk(context, work)), **(also or {})}, as_json=as_json)


def _password(*, given: bool) -> tuple[str, dict[str, str]]:
    """Return a password, and what is to be shown of it: one that was made, this once."""
    if given:
        return sys.stdin.readline().rstrip("\r\n"), {}
    password = new_password()
    return password, {"password": password}


def _row(user: User) -> dict[str, Any]:
    return {
        **asdict(user),
        "organizations": [{"id": o.id, "name": o.name} for o in user.organizations],
    }
