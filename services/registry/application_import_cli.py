"""`oauthapps applications import`: many at once, and their secrets in one file."""

from pathlib import Path
from typing import Annotated

import typer

from services.registry.application_import import ApplicationImport, Summary
from services.registry.desk import Desk, Json, run_at_desk
from services.registry.import_results import results_in
from services.registry.import_summary import show_summary
from services.registry.private_files import reading
from shared.console import progress


def import_applications(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON lines; - is standard input.")],
    results: Annotated[
        Path, typer.Option(help="Where the secrets go, mode 0600; the one of before to go on.")
    ],
    *,
    as_json: Json = False,
) -> None:
    """Add applications from JSON lines, each as `POST /api/applications` takes it."""

    async def work(desk: Desk) -> Summary:
        log_epoch = (await desk.store.head()).log_epoch
        with (
            reading(file) as (source, size),
            results_in(results, log_epoch) as kept,
            progress("import") as on_progress,
        ):
            importing = ApplicationImport(
                settings=desk.settings,
                store=desk.store,
                directory=desk.directory,
                results=kept,
                context=desk.context(),
                on_progress=on_progress,
            )
            return await importing.run(source, size)

    summary = run_at_desk(context, work)
    show_summary(
        {"added": summary.added, "unchanged": summary.unchanged}, summary.failed, as_json=as_json
    )
