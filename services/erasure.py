"""`oauthapps users erase`: what is known of a person, erased in both databases."""

from typing import Annotated

import typer

from services.registry.desk import run_at_desk
from services.registry.users_cli import users
from shared.console import show_one

__all__ = ["users"]


@users.command("erase")
def erase_user(
    context: typer.Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Their e-mail address or id.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Erase what is known of a person, in both databases, and deactivate their applications."""
    # All other commands about users would wait for what it brings along.
    from services.notifier.cli import forget  # noqa: PLC0415

    user = run_at_desk(context, lambda desk: desk.directory.user(email))
    # From here on the address may lead nowhere.
    again = f"; run it again: oauthapps users erase {user.id} --yes"
    if not yes:
        question = f"Erase name, address and password of {email} (user {user.id}) for good?"
        typer.confirm(question, abort=True, err=True)
    run_at_desk(context, lambda desk: desk.switch.erase(user.id, desk.author()), again)
    withheld = forget(context, user.id, again)
    show_one({"id": user.id, "erased": True, "mails_withheld": withheld}, as_json=as_json)
