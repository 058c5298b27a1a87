"""`oauthapps events`: the log."""

from typing import Annotated, Any

import typer

from services.registry.desk import Desk, Json, run_at_desk
from services.registry.event_store import Head
from services.registry.rebuild import Rebuild, rebuild
from services.registry.republication import republish
from services.registry.verification import Verification, verify
from shared.bus import open_publisher
from shared.config import Settings
from shared.console import fail, progress, show, show_one
from shared.envelope import to_cloudevent
from shared.queries import LOG_LIMIT
from shared.secret_source import bus_source

events = typer.Typer(help="The log.")


@events.command("list")
def list_events(
    context: typer.Context,
    after: Annotated[
        int, typer.Option(min=0, max=LOG_LIMIT, help="Begin behind this position.")
    ] = 0,
    *,
    as_json: Json = False,
) -> None:
    """List the events, as CloudEvents with --json."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        position = after
        while True:
            page = await desk.feed.page(position, 1000, 0)
            if not page.envelopes:
                return rows
            position = page.envelopes[-1].position
            source = desk.settings.public_url
            for one in page.envelopes:
                event = to_cloudevent(one, log_epoch=page.log_epoch, source=source)
                facts = {"position": one.position, "actor": one.metadata.actor}
                rows.append(event if as_json else {**facts, **event, "name": one.event.name})

    rows = run_at_desk(context, work)
    show(rows, ["position", "time", "type", "name", "subject", "actor"], as_json=as_json)


@events.command("verify")
def verify_log(context: typer.Context, *, as_json: Json = False) -> None:
    """Check that the log has no hole, and that the read model says what the log says."""

    async def work(desk: Desk) -> Verification:
        with progress("verify") as on_progress:
            return await verify(desk.pool, on_progress=on_progress)

    found = run_at_desk(context, work)
    _show_verification(found, found.as_document(), as_json=as_json)


@events.command("rebuild")
def rebuild_read_model(context: typer.Context, *, as_json: Json = False) -> None:
    """Make the read model say what the log says, while everybody goes on; then verify it.

    When an application was last used is kept, since the log does not know it.
    """

    async def work(desk: Desk) -> Rebuild:
        with progress("rebuild") as on_rebuild, progress("verify") as on_verification:
            return await rebuild(desk.pool, on_progress=on_rebuild, on_verification=on_verification)

    done = run_at_desk(context, work)
    _show_verification(done.verification, done.as_document(), as_json=as_json)


def _show_verification(found: Verification, document: dict[str, Any], *, as_json: bool) -> None:
    if not as_json:
        document["problems"] = document.pop("problem_count")
    show_one(document, as_json=as_json)
    if found.problem_count:
        fail(f"{found.problem_count} problems, the first: {found.problems[0]}")


@events.command("republish")
def republish_events(
    context: typer.Context,
    first: Annotated[int, typer.Option("--from", min=1, max=LOG_LIMIT, help="First position.")],
    last: Annotated[int, typer.Option("--to", min=1, max=LOG_LIMIT, help="Last position.")],
    *,
    as_json: Json = False,
) -> None:
    """Publish a part of the log to RabbitMQ again, in its order."""
    if last < first:
        message = "must not be less than --from"
        raise typer.BadParameter(message, param_hint="--to")
    settings: Settings = context.obj
    bus = bus_source(settings.bus)
    if bus is None:
        fail("no RabbitMQ is configured: set OAUTHAPPS_BUS__URL or bus.url_file")

    async def work(desk: Desk) -> int:
        head = await desk.store.head()
        with progress("republish") as on_progress:
            return await republish(
                desk.feed,
                lambda: open_publisher(
                    bus,
                    source=settings.public_url,
                    timeout_seconds=settings.bus.publish_timeout.total_seconds(),
                ),
                first=first,
                last=min(last, head.position),
                window=settings.bus.confirm_window,
                on_progress=lambda at: on_progress(at, min(last, head.position)),
            )

    published = run_at_desk(context, work)
    show_one({"from": first, "to": last, "published": published}, as_json=as_json)


@events.command("new-epoch")
def begin_new_epoch(
    context: typer.Context,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Declare the log another history, after its database was restored from a backup.

    Everybody who follows it starts over: positions that were given out once mean other events now.
    """
    if not yes:
        typer.confirm("Was the database restored? Every subscriber will start over.", abort=True)

    async def work(desk: Desk) -> Head:
        return await desk.store.begin_epoch()

    head = run_at_desk(context, work)
    show_one({"log_epoch": head.log_epoch, "position": head.position}, as_json=as_json)
