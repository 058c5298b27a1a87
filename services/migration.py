"""`oauthapps migrate`: both databases brought up to date."""

import asyncio
from typing import Annotated

import typer

from services.notifier import app as notifier
from services.registry import schema as registry
from shared.config import Settings
from shared.console import show_json
from shared.postgres import DatabaseUrl, migrate_database
from shared.service_credential import load_or_create


def migrate(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring both databases up to date, and make the service credential if there is none."""
    settings: Settings = context.obj
    load_or_create(settings.in_var(settings.internal.credential_file))
    applied = asyncio.run(migrate_all(settings))
    if as_json:
        show_json({"applied": applied})
    else:
        typer.echo("\n".join(f"applied {one}" for one in applied) or "nothing to do")


async def migrate_all(settings: Settings) -> list[str]:
    """Do every step that is not done yet; return their names. Raises DatabaseError."""
    applied = []
    for service, database in (
        (registry, settings.registry.database),
        (notifier, settings.notifier.database),
    ):
        dsn = DatabaseUrl(database, settings.var, setting=service.DATABASE_SETTING)
        applied += await migrate_database(dsn, service.SCHEMA, service.MIGRATIONS)
    return applied
