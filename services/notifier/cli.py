"""The command line of the notifier: serve, notifications."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any, TypeVar, get_args

import typer

from services.notifier.app import DATABASE_SETTING, MIGRATIONS, SCHEMA, create_app
from services.notifier.deliveries import Deliveries, Filter, State
from services.notifier.library import CannotRender
from services.notifier.rules import known_locale
from services.notifier.trial import send_sample
from services.notifier.undecodable import UndecodableEvents
from shared.config import Settings, with_port
from shared.console import fail, show, show_one
from shared.database_words import reason_of
from shared.failures import PermanentFailure, TransientFailure
from shared.moments import parse_moment
from shared.postgres import (
    POSTGRES_ERRORS,
    DatabaseError,
    DatabaseUrl,
    Pool,
    create_pool,
    require_migrated,
)
from shared.server import bind, run
from shared.workers import serve_with_workers

notifier = typer.Typer(help="The notifier: mail to the owners of applications.")
notifications = typer.Typer(help="Mails that were sent, wait, or could not be sent.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The notification's id.")]
T = TypeVar("T")
Row = dict[str, Any]


@notifier.callback()
def _notifier() -> None:
    """Keep `serve` a sub-command although it is the only one."""


@notifier.command("serve")
def serve_notifier(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer.")] = 1,
) -> None:
    """Send mail for what happens in the registry, from one or several worker processes."""
    settings = with_port(context.obj, "notifier", port)
    listener = bind(
        host or settings.notifier.host,
        settings.notifier.port,
        option="--port",
    )
    try:
        app = create_app(settings)
    except CannotRender as error:
        fail(str(error))
    if workers == 1:
        run(app, listener, settings.server)
    else:
        serve_with_workers(listener, workers, factory="services.notifier.app:from_environment")


@notifications.command("list")
def list_notifications(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help=f"One of {', '.join(get_args(State))}.")] = None,
    event_type: Annotated[str | None, typer.Option(help="Such as ApplicationCreated.")] = None,
    rule: Annotated[str | None, typer.Option(help="The rule that asked for it.")] = None,
    recipient: Annotated[str | None, typer.Option(help="A user's id.")] = None,
    application: Annotated[str | None, typer.Option(help="An application's id.")] = None,
    created_after: Annotated[
        datetime | None,
        typer.Option(help="Recorded later than this.", parser=parse_moment, metavar="MOMENT"),
    ] = None,
    created_before: Annotated[
        datetime | None,
        typer.Option(help="Recorded earlier than this.", parser=parse_moment, metavar="MOMENT"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    *,
    as_json: Json = False,
) -> None:
    """List notifications, the newest first."""
    wanted = next((one for one in get_args(State) if one == state), None)
    if wanted != state:
        message = f"{state!r} is none of {', '.join(get_args(State))}"
        raise typer.BadParameter(message, param_hint="--state")
    chosen = Filter(
        state=wanted,
        event_type=event_type,
        rule=rule,
        recipient=recipient,
        application=application,
        created_after=created_after,
        created_before=created_before,
    )
    rows = _run(context, lambda deliveries: deliveries.page(chosen, limit))
    columns = ["id", "event_type", "recipient", "state", "attempts", "created_at", "last_error"]
    show(rows, columns, as_json=as_json)


@notifications.command("show")
def show_notification(context: typer.Context, id: Id, *, as_json: Json = False) -> None:  # noqa: A002 - the argument's name in the help
    """Show one notification."""
    show_one(_run(context, lambda deliveries: _found(deliveries, id)), as_json=as_json)


@notifications.command("retry")
def retry_notification(context: typer.Context, id: Id, *, as_json: Json = False) -> None:  # noqa: A002
    """Have a notification sent now, also one that was parked, suppressed, expired or discarded."""
    _change(context, id, Deliveries.retry, as_json=as_json)


@notifications.command("discard")
def discard_notification(context: typer.Context, id: Id, *, as_json: Json = False) -> None:  # noqa: A002
    """Give up a notification that was not sent."""
    _change(context, id, Deliveries.discard, as_json=as_json)


@notifications.command("undecodable")
def list_undecodable_events(context: typer.Context, *, as_json: Json = False) -> None:
    """List events that this version cannot decode; one that can tells of them when it starts."""
    rows = _on_pool(context, lambda pool: UndecodableEvents(pool).all())
    columns = ["position", "event_type", "application_id", "occurred_at", "parked_at", "reason"]
    show(rows, columns, as_json=as_json)


@notifications.command("test")
def send_one_sample(
    context: typer.Context,
    to: Annotated[str, typer.Option(metavar="ADDRESS", help="Whom to send it to.")],
    template: Annotated[str, typer.Option(help="Which mail.")] = "application_created",
    locale: Annotated[str, typer.Option(help="Its language, such as en or de.")] = "en",
    *,
    as_json: Json = False,
) -> None:
    """Send one mail with sample data, to try templates and the mail server."""
    try:
        wanted = known_locale(locale)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--locale") from None
    sending = send_sample(context.obj, to=to, template=template, locale=wanted)
    try:
        sent = asyncio.run(sending)
    except (PermanentFailure, TransientFailure) as error:
        fail(f"not sent: {error}")
    show_one(sent, as_json=as_json)


def _change(
    context: typer.Context,
    delivery_id: str,
    change: Callable[[Deliveries, uuid.UUID], Coroutine[Any, Any, bool]],
    *,
    as_json: bool,
) -> None:
    async def work(deliveries: Deliveries) -> tuple[bool, Row]:
        row = await _found(deliveries, delivery_id)
        changed = await change(deliveries, uuid.UUID(row["id"]))
        return changed, await _found(deliveries, delivery_id)

    changed, row = _run(context, work)
    if not changed:
        fail(f"notification {row['id']} is in state {row['state']!r}: nothing to change there")
    show_one(row, as_json=as_json)


async def _found(deliveries: Deliveries, delivery_id: str) -> Row:
    """Return a delivery. Raises LookupError."""
    try:
        row = await deliveries.find(uuid.UUID(delivery_id))
    except ValueError:
        row = None
    if row is None:
        message = f"there is no notification {delivery_id}"
        raise LookupError(message)
    return row


def forget(context: typer.Context, user_id: str, remedy: str) -> int:
    """Blank and withhold what was to be said to a person; return how many were withheld.

    What goes wrong becomes one line, the remedy at its end.
    """
    return _run(context, lambda deliveries: deliveries.forget(user_id), remedy)


def _run(
    context: typer.Context,
    work: Callable[[Deliveries], Coroutine[Any, Any, T]],
    remedy: str = "",
) -> T:
    return _on_pool(context, lambda pool: work(Deliveries(pool)), remedy)


def _on_pool(
    context: typer.Context, work: Callable[[Pool], Coroutine[Any, Any, T]], remedy: str = ""
) -> T:
    """Do the work; whatever is refused becomes one line and status 1."""
    settings: Settings = context.obj

    async def with_pool() -> T:
        dsn = DatabaseUrl(settings.notifier.database, settings.var, setting=DATABASE_SETTING)
        pool = await create_pool(dsn, size=2)
        try:
            await require_migrated(pool, SCHEMA, MIGRATIONS)
            return await work(pool)
        finally:
            await pool.close()

    try:
        return asyncio.run(with_pool())
    except (DatabaseError, LookupError) as error:
        fail(f"{error}{remedy}")
    except POSTGRES_ERRORS as error:
        fail(f"{reason_of(error)}{remedy}")
