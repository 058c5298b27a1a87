"""`oauthapps applications`: what the REST API does, for operators."""

import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import structs

from services.registry.application_import_cli import import_applications
from services.registry.clock import end_of_second, now
from services.registry.creation import NewApplication, create
from services.registry.desk import Desk, Json, run_at_desk
from services.registry.domain import (
    KEEP,
    ActivateApplication,
    ApplicationNotFound,
    Change,
    DeactivateApplication,
    DeleteApplication,
    RevokeSecret,
    RevokeTokens,
    UpdateApplication,
)
from services.registry.filters import Filter, Order, Sort, Status
from services.registry.handlers import change_application
from services.registry.history import fact_of
from services.registry.public_keys import keys_in
from services.registry.rotation import LONGEST_OVERLAP, rotate_secret
from services.registry.terms import FieldRefused, admitted
from services.registry.usage import DAYS_LIMIT
from services.registry.views import ApplicationView
from shared.config import LONGEST_OF_AN_APPLICATION
from shared.console import fail, show, show_one
from shared.cursors import PAGE_LIMIT
from shared.events import PublicKey
from shared.moments import parse_moment
from shared.setting_values import parse_duration

applications = typer.Typer(help="OAuth applications.")
applications.command("import")(import_applications)
Expiry = typer.Option(
    help="When it ends: 2026-12-31T00:00:00Z.", parser=parse_moment, metavar="MOMENT"
)
SecretExpiry = typer.Option(
    help="When the new secret ends: 2026-12-31T00:00:00Z.", parser=parse_moment, metavar="MOMENT"
)


Keys = typer.Option(
    help="File with its public keys, a JWK set or PEM, for private_key_jwt; all it is to have."
)
TokenLifetime = typer.Option(help="Of its access tokens, such as 15m; `default` for the usual.")


@applications.command("create")
def create_application(
    context: typer.Context,
    owner: Annotated[str, typer.Option(help="The owner's e-mail address or id.")],
    name: Annotated[str, typer.Option(help="The application's name.")],
    organization: Annotated[str | None, typer.Option(help="Name or id.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires_at: Annotated[datetime | None, Expiry] = None,
    secret_expires_at: Annotated[datetime | None, SecretExpiry] = None,
    keys: Annotated[Path | None, Keys] = None,
    token_lifetime: Annotated[str | None, TokenLifetime] = None,
    *,
    inactive: Annotated[bool, typer.Option("--inactive", help="Create it deactivated.")] = False,
    as_json: Json = False,
) -> None:
    """Add an application and print its secret, this once."""
    public_keys, seconds = _keys(keys), _seconds(token_lifetime)

    async def work(desk: Desk) -> dict[str, Any]:
        created = await create(
            NewApplication(
                name=name,
                organization=organization,
                owner=owner,
                description=description,
                active=not inactive,
                scopes=tuple(scope) if scope else None,
                expires_at=expires_at,
                secret_expires_at=secret_expires_at,
                keys=public_keys,
                token_seconds=seconds,
            ),
            by=None,
            settings=desk.settings,
            store=desk.store,
            directory=desk.directory,
            context=desk.context(),
        )
        return {**structs.asdict(created.view), "client_secret": created.client_secret}

    row = run_at_desk(context, work)
    show_one(row if as_json else _flat(row), as_json=as_json)


@applications.command("list")
def list_applications(
    context: typer.Context,
    name: Annotated[str | None, typer.Option(help="A part of the name.")] = None,
    owner: Annotated[str | None, typer.Option(help="E-mail address or id.")] = None,
    organization: Annotated[
        list[str] | None, typer.Option(help="Name or id; may be repeated.")
    ] = None,
    status: Annotated[
        Status | None, typer.Option(help="active: obtains tokens now; expired: past its end.")
    ] = None,
    sort: Annotated[Sort, typer.Option(help="By what.")] = "name",
    *,
    descending: Annotated[bool, typer.Option("--descending", help="From the end.")] = False,
    as_json: Json = False,
) -> None:
    """List the applications."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        wanted = Filter(
            name=name,
            status=status,
            owner_id=(await desk.directory.user(owner)).id if owner else None,
            organization_ids=frozenset(
                [(await desk.directory.organization(one)).id for one in organization]
            )
            if organization
            else None,
        )
        order = Order(sort, descending=descending)
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            items, cursor = await desk.lists.page(wanted, order, limit=PAGE_LIMIT, cursor=cursor)
            rows += [structs.asdict(one) for one in items]
            if cursor is None:
                return rows

    columns = ["id", "client_id", "name", "organization", "owner", "active"]
    show(run_at_desk(context, work), columns, as_json=as_json)


@applications.command("show")
def show_application(context: typer.Context, id: str, *, as_json: Json = False) -> None:  # noqa: A002 - the argument's name in the help
    """Show one application, by id or Client ID."""
    row = structs.asdict(run_at_desk(context, lambda desk: _find(desk, id)))
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

    rows = run_at_desk(context, work)
    named = rows if as_json else [{**one, "name": one["data"].name} for one in rows]
    show(named, ["version", "time", "type", "name", "actor", "position"], as_json=as_json)


@applications.command("usage")
def show_usage(
    context: typer.Context,
    id: str,  # noqa: A002
    days: Annotated[int, typer.Option(min=1, max=DAYS_LIMIT, help="How far back.")] = 30,
    *,
    as_json: Json = False,
) -> None:
    """List how often the secrets of one application obtained tokens, day by day."""

    async def work(desk: Desk) -> list[dict[str, Any]]:
        found = await _find(desk, id)
        return [structs.asdict(one) for one in await desk.usage.of(found.id, days=days)]

    columns = ["date", "secret_id", "count", "last_used_at"]
    show(run_at_desk(context, work), columns, as_json=as_json)


@applications.command("rename")
def rename_application(
    context: typer.Context,
    id: str,  # noqa: A002
    name: str,
    *,
    as_json: Json = False,
) -> None:
    """Give an application another name."""
    _change(context, id, UpdateApplication(name=name), as_json=as_json)


@applications.command("update")
def update_application(
    context: typer.Context,
    id: str,  # noqa: A002
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for; '' for none.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="All it is to have; may be repeated.")
    ] = None,
    expires_at: Annotated[datetime | None, Expiry] = None,
    keys: Annotated[Path | None, Keys] = None,
    token_lifetime: Annotated[str | None, TokenLifetime] = None,
    *,
    no_keys: Annotated[bool, typer.Option("--no-keys", help="Remove all keys.")] = False,
    no_expiry: Annotated[bool, typer.Option("--no-expiry", help="Let it live on.")] = False,
    as_json: Json = False,
) -> None:
    """Change an application; what is not named stays as it is."""
    if no_expiry and expires_at is not None:
        message = "give --expires-at or --no-expiry"
        raise typer.BadParameter(message, param_hint="--no-expiry")
    command = UpdateApplication(
        name=KEEP if name is None else name,
        description=KEEP if description is None else description,
        scopes=KEEP if scope is None else tuple(scope),
        expires_at=KEEP if expires_at is None and not no_expiry else expires_at,
        keys=() if no_keys else KEEP if keys is None else _keys(keys),
        token_seconds=KEEP if token_lifetime is None else _seconds(token_lifetime),
    )
    _change(context, id, command, as_json=as_json)


def _keys(file: Path | None) -> tuple[PublicKey, ...]:
    if file is None:
        return ()
    try:
        return keys_in(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        fail(f"{file}: cannot be read ({reason}); check path and permissions")
    except FieldRefused as error:
        fail(f"{file}: {error}")


def _seconds(lifetime: str | None) -> int | None:
    if lifetime in (None, "default"):
        return None
    try:
        found = parse_duration(lifetime)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--token-lifetime") from None
    seconds = int(found.total_seconds()) if isinstance(found, timedelta) else 0
    if not 1 <= seconds <= LONGEST_OF_AN_APPLICATION.total_seconds():
        message = "give a lifetime from 1s to 1d"
        raise typer.BadParameter(message, param_hint="--token-lifetime")
    return seconds


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
    expires_at: Annotated[datetime | None, SecretExpiry] = None,
    *,
    as_json: Json = False,
) -> None:
    """Give an application a new secret and print it, this once."""
    wanted = None if overlap is None else _overlap(overlap)

    async def work(desk: Desk) -> dict[str, Any]:
        found = await _find(desk, id)
        rotated = await rotate_secret(
            desk.store,
            found,
            overlap=desk.settings.registry.secret_overlap if wanted is None else wanted,
            expires_at=expires_at,
            context=desk.context(),
        )
        return {**structs.asdict(rotated.view), "client_secret": rotated.client_secret}

    row = run_at_desk(context, work)
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

    gone = run_at_desk(context, work)
    show_one({"id": gone.id, "name": gone.name, "deleted": True}, as_json=as_json)


def _change(context: typer.Context, id_: str, command: Change, *, as_json: bool) -> None:
    async def work(desk: Desk) -> ApplicationView:
        found = await _find(desk, id_)
        change = command
        if isinstance(change, UpdateApplication):
            change = admitted(change, found, by=None, settings=desk.settings, now=now())
        await change_application(desk.store, found.id, change, desk.context())
        return await _found(desk, found.id)

    row = structs.asdict(run_at_desk(context, work))
    show_one(row if as_json else _flat(row), as_json=as_json)


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


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row for people: names instead of structures."""
    secrets_ = [f"…{one.hint} (since {one.created_at:%Y-%m-%d})" for one in row["secrets"]]
    return {
        **row,
        "organization": row["organization"].name,
        "owner": row["owner"].name,
        "secrets": secrets_,
    }
