"""The command line of the registry: serve, directory, applications, events."""

import asyncio
import getpass
import secrets
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Annotated, Any, TypeVar

import typer

from services.registry.app import DATABASE_SETTING, MIGRATIONS, SCHEMA, create_app
from services.registry.creation import FieldRefused, NewApplication, create
from services.registry.directory import Directory, User
from services.registry.domain import (
    ActivateApplication,
    ApplicationNotFound,
    Change,
    DeactivateApplication,
    DeleteApplication,
    InvalidName,
    RegistryError,
    RenameApplication,
    RevokeSecret,
    RevokeTokens,
)
from services.registry.event_store import EventStore
from services.registry.feed import Feed, Wakeup
from services.registry.handlers import Context, change_application
from services.registry.rest import LOG_LIMIT, end_of_second, fact_of, now, problem_of
from services.registry.rotation import LONGEST_OVERLAP, rotate_secret
from services.registry.views import PAGE_LIMIT, ApplicationView, ApplicationViews, Filter
from shared.config import Settings, parse_duration, with_port
from shared.console import fail, show, show_one
from shared.envelope import to_cloudevent
from shared.failures import TransientFailure
from shared.postgres import (
    TRANSIENT_ERRORS,
    DatabaseError,
    create_pool,
    dsn_of,
    require_migrated,
)
from shared.server import bind, run
from shared.workers import serve_with_workers

registry = typer.Typer(help="The registry: pages, REST API, log and feeds.")
organizations = typer.Typer(help="Organizations of the directory.")
users = typer.Typer(help="Users of the directory.")
applications = typer.Typer(help="OAuth applications.")
events = typer.Typer(help="The log.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command of an operator works with."""

    settings: Settings
    store: EventStore
    views: ApplicationViews
    directory: Directory
    feed: Feed

    def context(self) -> Context:
        """Return the context of one command, done by the operator of this account."""
        return Context(
            command_id=str(uuid.uuid4()),
            actor=f"cli:{getpass.getuser()}",
            now=now,
        )


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    """Open the registry's database. Raises DatabaseError with the remedy."""
    dsn = dsn_of(settings.registry.database, settings.var, setting=DATABASE_SETTING)
    pool = await create_pool(dsn, size=2)
    try:
        await require_migrated(pool, SCHEMA, MIGRATIONS)
        async with EventStore(dsn, pool) as store:
            yield Desk(
                settings,
                store,
                ApplicationViews(pool),
                Directory(pool),
                Feed(pool, Wakeup(), asyncio.Event()),
            )
    finally:
        await pool.close()


def _run(context: typer.Context, work: Callable[[Desk], Coroutine[Any, Any, T]]) -> T:
    """Do the work; whatever is refused becomes one line and status 1."""

    async def with_desk() -> T:
        async with open_desk(context.obj) as desk:
            return await work(desk)

    try:
        return asyncio.run(with_desk())
    except DatabaseError as error:
        fail(str(error))
    except TRANSIENT_ERRORS as error:
        fail(f"the database does not answer ({type(error).__name__}); check {DATABASE_SETTING}")
    except FieldRefused as error:
        fail(f"{'.'.join(map(str, error.path))}: {error}")
    except InvalidName as error:
        fail(f"name: {error}")
    except (RegistryError, TransientFailure) as error:
        fail(str(error) or problem_of(error).detail)


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
    added = _run(
        context, lambda desk: desk.directory.add_organization(name, global_access=global_access)
    )
    show_one(asdict(added), as_json=as_json)


@organizations.command("list")
def list_organizations(context: typer.Context, *, as_json: Json = False) -> None:
    """List the organizations."""
    rows = [asdict(one) for one in _run(context, lambda desk: desk.directory.organizations())]
    show(rows, ["id", "name", "global_access", "active"], as_json=as_json)


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
    user = _run(
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
    rows = [_user_row(one) for one in _run(context, lambda desk: desk.directory.users())]
    columns = ["id", "email", "name", "organizations", "administrator", "active"]
    show(rows, columns, as_json=as_json)


@users.command("disable")
def disable_user(context: typer.Context, email: str, *, as_json: Json = False) -> None:
    """Disable a user and deactivate the user's applications."""

    async def work(desk: Desk) -> User:
        user = await desk.directory.user(email)
        await desk.directory.set_user_active(user.id, active=False)
        # An append that saw the user enabled has ended: what it added is in the list below.
        await desk.store.barrier()
        for application_id in await desk.views.active_ids_of(user.id):
            command = DeactivateApplication(reason="owner_disabled")
            await change_application(desk.store, application_id, command, desk.context())
        return await desk.directory.user(user.id)

    show_one(_user_row(_run(context, work)), as_json=as_json)


@users.command("enable")
def enable_user(context: typer.Context, email: str, *, as_json: Json = False) -> None:
    """Enable a user; the applications stay as they are."""

    async def work(desk: Desk) -> User:
        user = await desk.directory.user(email)
        await desk.directory.set_user_active(user.id, active=True)
        return await desk.directory.user(user.id)

    show_one(_user_row(_run(context, work)), as_json=as_json)


@applications.command("create")
def create_application(
    context: typer.Context,
    owner: Annotated[str, typer.Option(help="The owner's e-mail address or id.")],
    name: Annotated[str, typer.Option(help="The application's name.")],
    organization: Annotated[str | None, typer.Option(help="Name or id.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    *,
    inactive: Annotated[bool, typer.Option("--inactive", help="Create it deactivated.")] = False,
    as_json: Json = False,
) -> None:
    """Add an application and print its secret, this once."""

    async def work(desk: Desk) -> dict[str, Any]:
        created = await create(
            NewApplication(
                name=name,
                organization=organization,
                owner=owner,
                active=not inactive,
                scopes=tuple(scope) if scope else None,
            ),
            by=None,
            settings=desk.settings,
            store=desk.store,
            directory=desk.directory,
            context=desk.context(),
        )
        view = await _found(desk, created.application_id)
        return {**_row(view), "client_secret": created.client_secret}

    row = _run(context, work)
    show_one(row if as_json else _flat(row), as_json=as_json)


@applications.command("list")
def list_applications(context: typer.Context, *, as_json: Json = False) -> None:
    """List all applications."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            items, cursor = await desk.views.page(Filter(), limit=PAGE_LIMIT, cursor=cursor)
            rows += [_row(one) for one in items]
            if cursor is None:
                return rows

    columns = ["id", "client_id", "name", "organization", "owner", "active"]
    show(_run(context, work), columns, as_json=as_json)


@applications.command("show")
def show_application(context: typer.Context, id: str, *, as_json: Json = False) -> None:  # noqa: A002 - the argument's name in the help
    """Show one application, by id or Client ID."""
    row = _row(_run(context, lambda desk: _find(desk, id)))
    show_one(row if as_json else _flat(row), as_json=as_json)


@applications.command("history")
def show_history(context: typer.Context, id: str, *, as_json: Json = False) -> None:  # noqa: A002
    """List what happened to one application, also after its end: then by id."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        known = await desk.views.find_by_client_id(id)
        envelopes = await desk.store.load(known.id if known else _application_id(id))
        if not envelopes:
            raise ApplicationNotFound
        return [fact_of(one) for one in envelopes]

    rows = _run(context, work)
    named = rows if as_json else [{**one, "name": one["data"].name} for one in rows]
    show(named, ["version", "time", "type", "name", "actor", "position"], as_json=as_json)


@applications.command("rename")
def rename_application(
    context: typer.Context,
    id: str,  # noqa: A002
    name: str,
    *,
    as_json: Json = False,
) -> None:
    """Give an application another name."""
    _change(context, id, RenameApplication(name=name), as_json=as_json)


@applications.command("activate")
def activate_application(context: typer.Context, id: str, *, as_json: Json = False) -> None:  # noqa: A002
    """Let an application obtain tokens."""
    _change(context, id, ActivateApplication(), as_json=as_json)


@applications.command("deactivate")
def deactivate_application(context: typer.Context, id: str, *, as_json: Json = False) -> None:  # noqa: A002
    """Let an application obtain no more tokens."""
    _change(context, id, DeactivateApplication(), as_json=as_json)


@applications.command("rotate-secret")
def rotate_application_secret(
    context: typer.Context,
    id: str,  # noqa: A002
    overlap: Annotated[
        str | None,
        typer.Option(help="How long the old secret is good beside it: 24h, 30m, 0. [24h]"),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Give an application a new secret and print it, this once."""
    wanted = None if overlap is None else _overlap(overlap)

    async def work(desk: Desk) -> dict[str, Any]:
        found = await _find(desk, id)
        secret = await rotate_secret(
            desk.store,
            found.id,
            overlap=desk.settings.registry.secret_overlap if wanted is None else wanted,
            context=desk.context(),
        )
        return {**_row(await _found(desk, found.id)), "client_secret": secret}

    row = _run(context, work)
    show_one(row if as_json else _flat(row), as_json=as_json)


@applications.command("revoke-secret")
def revoke_application_secret(
    context: typer.Context,
    id: str,  # noqa: A002
    secret_id: Annotated[str, typer.Argument(help="As `show --json` lists it.")],
    *,
    as_json: Json = False,
) -> None:
    """End one secret of an application now."""
    _change(context, id, RevokeSecret(secret_id=secret_id), as_json=as_json)


@applications.command("revoke-tokens")
def revoke_application_tokens(context: typer.Context, id: str, *, as_json: Json = False) -> None:  # noqa: A002
    """End the access tokens of an application that were issued up to now."""
    _change(context, id, RevokeTokens(not_before=end_of_second(now())), as_json=as_json)


@applications.command("delete")
def delete_application(context: typer.Context, id: str, *, as_json: Json = False) -> None:  # noqa: A002
    """Remove an application for good."""

    async def work(desk: Desk) -> ApplicationView:
        found = await _find(desk, id)
        await change_application(desk.store, found.id, DeleteApplication(), desk.context())
        return found

    gone = _run(context, work)
    show_one({"id": gone.id, "name": gone.name, "deleted": True}, as_json=as_json)


def _change(context: typer.Context, id_: str, command: Change, *, as_json: bool) -> None:
    async def work(desk: Desk) -> ApplicationView:
        found = await _find(desk, id_)
        await change_application(desk.store, found.id, command, desk.context())
        return await _found(desk, found.id)

    row = _row(_run(context, work))
    show_one(row if as_json else _flat(row), as_json=as_json)


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

    rows = _run(context, work)
    show(rows, ["position", "time", "type", "name", "subject", "actor"], as_json=as_json)


def _overlap(text: str) -> timedelta:
    try:
        overlap = parse_duration("0s" if text == "0" else text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--overlap") from None
    if not isinstance(overlap, timedelta) or overlap > LONGEST_OVERLAP:
        message = f"give at most {LONGEST_OVERLAP.days}d"
        raise typer.BadParameter(message, param_hint="--overlap")
    return overlap


async def _find(desk: Desk, reference: str) -> ApplicationView:
    known = await desk.views.find_by_client_id(reference)
    return known or await _found(desk, _application_id(reference))


async def _found(desk: Desk, application_id: str) -> ApplicationView:
    view = await desk.views.find(application_id)
    if view is None:
        raise ApplicationNotFound
    return view


def _application_id(reference: str) -> str:
    try:
        return str(uuid.UUID(reference))
    except ValueError:
        raise ApplicationNotFound from None


def _row(view: ApplicationView) -> dict[str, Any]:
    return {name: getattr(view, name) for name in view.__struct_fields__}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row for people: names instead of structures."""
    secrets_ = [f"…{one.hint} (since {one.created_at:%Y-%m-%d})" for one in row["secrets"]]
    return {
        **row,
        "organization": row["organization"].name,
        "owner": row["owner"].name,
        "secrets": secrets_,
    }


def _user_row(user: User) -> dict[str, Any]:
    return {
        **asdict(user),
        "organizations": [{"id": o.id, "name": o.name} for o in user.organizations],
    }
