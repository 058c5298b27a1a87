"""`oauthapps directory`: export, import and audit of organizations and users."""

from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import structs

from services.registry.desk import Desk, Json, run_at_desk
from services.registry.directory import UserUnknown
from services.registry.directory_audit import Audit
from services.registry.directory_export import export_directory
from services.registry.directory_import import DirectoryImport, Summary
from services.registry.import_summary import show_summary
from services.registry.private_files import STANDARD, reading, written
from services.registry.withdrawal import withdraw
from shared.console import progress, show
from shared.queries import LOG_LIMIT

directory = typer.Typer(help="The directory as a whole: export, import, audit.")

PAGE = 1000


@directory.command("export")
def export_lines(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to; - is standard output.")] = STANDARD,
    *,
    with_password_hashes: Annotated[
        bool, typer.Option("--with-password-hashes", help="Only to a file; it gets mode 0600.")
    ] = False,
) -> None:
    """Write organizations and users as JSON lines."""
    if with_password_hashes and file == STANDARD:
        message = "needs a FILE, which only you can read"
        raise typer.BadParameter(message, param_hint="--with-password-hashes")

    async def work(desk: Desk) -> int:
        with progress("export") as on_progress, written(file) as write:
            return await export_directory(
                desk.pool,
                write,
                with_password_hashes=with_password_hashes,
                on_progress=on_progress,
            )

    lines = run_at_desk(context, work)
    if file != STANDARD:
        typer.echo(f"{lines} lines written", err=True)


@directory.command("import")
def import_lines(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON lines; - is standard input.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; say what would be.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add and change organizations and users from JSON lines; nobody is removed."""

    async def work(desk: Desk) -> Summary:
        with progress("import") as on_progress, reading(file) as (source, size):
            importing = DirectoryImport(
                desk.pool,
                desk.context(),
                dry_run=dry_run,
                on_disabled=lambda: withdraw(desk.store, desk.views, desk.context()),
                on_progress=on_progress,
            )
            return await importing.run(source, size)

    summary = run_at_desk(context, work)
    counts = {
        "added": summary.added,
        "changed": summary.changed,
        "unchanged": summary.unchanged,
    }
    show_summary(counts, summary.failed, as_json=as_json, dry_run=dry_run)


@directory.command("audit")
def show_audit(
    context: typer.Context,
    after: Annotated[int, typer.Option(min=0, max=LOG_LIMIT, help="Begin behind this entry.")] = 0,
    subject: Annotated[
        str | None,
        typer.Option(help="Only this user or organization, by address, name or id."),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """List who changed what in the directory, and when."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        subject_id = None if subject is None else await _subject_id(desk, subject)
        rows: list[dict[str, Any]] = []
        place: int | None = after
        while place is not None:
            items, place = await Audit(desk.pool).page(
                after=place, limit=PAGE, subject_id=subject_id
            )
            rows += [structs.asdict(one) for one in items]
        return rows

    rows = run_at_desk(context, work)
    if not as_json:
        rows = [{**one, "subject": one["subject"].id} for one in rows]
    show(rows, ["id", "time", "actor", "action", "subject", "details"], as_json=as_json)


async def _subject_id(desk: Desk, reference: str) -> str:
    try:
        return (await desk.directory.user(reference)).id
    except UserUnknown:
        return (await desk.directory.organization(reference)).id
