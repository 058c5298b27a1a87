"""The command line of the token service: serve, keys, projection."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from services.token import keys as signing_keys
from services.token.app import create_app
from services.token.key_ring import is_due
from services.token.projection import CursorMoved, Projection, ProjectionDamaged
from services.token.rotation import KeyPlaces, NotWithdrawn, RotationUnderWay
from shared.clients import SnapshotHead, checksum
from shared.config import Settings, with_port
from shared.console import fail, show, show_one
from shared.failures import TransientFailure
from shared.feed_client import FeedClient
from shared.server import PortInUse, StartFailed, bind, run
from shared.service_credential import load as load_credential
from shared.setting_values import parse_duration
from shared.workers import serve_with_workers

token = typer.Typer(help="The token service.")
keys = typer.Typer(help="Signing keys.")
projection = typer.Typer(help="The token service's copy of the clients.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
# How often two positions are compared before a busy log is reported as such.
ATTEMPTS = 10


@token.callback()
def _token() -> None:
    """Keep `serve` a sub-command although it is the only one."""


@token.command("serve")
def serve_token(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that answer.")] = None,
) -> None:
    """Serve tokens, with one or several worker processes."""
    settings = with_port(context.obj, "token", port)
    # Before the port is taken: what is wrong with the configuration is said once, here.
    app = create_app(settings)
    count = workers or settings.token.workers
    try:
        listener = bind(host or settings.token.host, settings.token.port, option="--port")
        if count == 1:
            run(app, listener, settings.server)
        else:
            serve_with_workers(listener, count, factory="services.token.app:from_environment")
    except (PortInUse, StartFailed) as error:
        fail(str(error))


@keys.command("generate")
def generate_keys(
    context: typer.Context,
    algorithm: Annotated[str, typer.Option(help="RS256, ES256 or EdDSA.")] = "RS256",
    *,
    as_json: Json = False,
) -> None:
    """Make the pair of signing keys; one that is there is never overwritten."""
    settings: Settings = context.obj
    chosen = _algorithm(algorithm)
    private = settings.in_var(settings.token.private_key)
    public = settings.in_var(settings.token.public_key)
    try:
        key = signing_keys.generate(private, public, chosen)
    except (signing_keys.KeyExists, signing_keys.KeyUnusable) as error:
        fail(str(error))
    row = {"algorithm": key.algorithm, "kid": key.kid}
    show_one({**row, "private_key": str(private), "public_key": str(public)}, as_json=as_json)


@keys.command("rotate")
def rotate_keys(
    context: typer.Context,
    algorithm: Annotated[
        str | None, typer.Option(help="RS256, ES256 or EdDSA; that of the key before, if not said.")
    ] = None,
    ahead: Annotated[
        str | None,
        typer.Option(help="How long the next key is published before it signs, such as 10m or 0s."),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Make the next key; it is published now, signs soon, and the one before stays published."""
    settings: Settings = context.obj
    try:
        _places(settings).rotate(
            algorithm=None if algorithm is None else _algorithm(algorithm),
            ahead=settings.token.rotation_ahead if ahead is None else _duration(ahead),
            lifetime=settings.longest_token,
            now=datetime.now(UTC),
        )
    except (signing_keys.KeyExists, signing_keys.KeyUnusable, RotationUnderWay) as error:
        fail(str(error))
    _show_keys(settings, as_json=as_json)


@keys.command("withdraw")
def withdraw_key(
    context: typer.Context,
    kid: Annotated[str, typer.Argument(help="A previous key, as `keys list` shows it.")],
    *,
    as_json: Json = False,
) -> None:
    """Publish a previous key no longer, such as one that has leaked: its tokens are refused."""
    settings: Settings = context.obj
    try:
        _places(settings).withdraw(kid, now=datetime.now(UTC))
    except (signing_keys.KeyUnusable, NotWithdrawn) as error:
        fail(str(error))
    _show_keys(settings, as_json=as_json)


@keys.command("list")
def list_keys(context: typer.Context, *, as_json: Json = False) -> None:
    """Show the signing keys and their turns, or why they cannot be used."""
    _show_keys(context.obj, as_json=as_json)


def _show_keys(settings: Settings, *, as_json: bool) -> None:
    places, now = _places(settings), datetime.now(UTC)
    try:
        usual, following, plan = places.read()
    except signing_keys.KeyUnusable as error:
        fail(str(error))
    rows: list[dict[str, Any]] = []

    def add(key: signing_keys.SigningKey, state: str, file: Path, **when: datetime) -> None:
        row = {"kid": key.kid, "algorithm": key.algorithm, "state": state, "file": str(file)}
        rows.append({**row, "signs_from": None, "published_until": None, **when})

    if following is None or plan.successor is None:
        add(usual, "current", places.private)
    elif is_due(plan, now):
        add(following, "current", places.next_private)
    else:
        add(usual, "current", places.private)
        add(following, "next", places.next_private, signs_from=plan.successor.signs_from)
    shown = {row["kid"] for row in rows}
    for one in plan.predecessors:
        if one.jwk["kid"] in shown:
            rows[0]["published_until"] = one.published_until
        elif one.published_until > now:
            row = {"kid": one.jwk["kid"], "algorithm": one.jwk["alg"], "state": "previous"}
            more = {"file": None, "signs_from": None, "published_until": one.published_until}
            rows.append({**row, **more})
    columns = ["kid", "algorithm", "state", "signs_from", "published_until", "file"]
    show(rows, columns, as_json=as_json)


def _places(settings: Settings) -> KeyPlaces:
    return KeyPlaces(
        settings.in_var(settings.token.private_key), settings.in_var(settings.token.public_key)
    )


def _algorithm(name: str) -> signing_keys.Algorithm:
    known: dict[str, signing_keys.Algorithm] = {
        one.lower(): one for one in get_args(signing_keys.Algorithm)
    }
    if name.lower() not in known:
        message = "choose RS256, ES256 or EdDSA"
        raise typer.BadParameter(message, param_hint="--algorithm")
    return known[name.lower()]


def _duration(text: str) -> timedelta:
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--ahead") from None
    assert isinstance(found, timedelta)  # noqa: S101 - it is what a text becomes
    return found


@projection.command("status")
def projection_status(context: typer.Context, *, as_json: Json = False) -> None:
    """Show how far the projection has come and how fresh it is."""
    settings: Settings = context.obj
    store = _open(settings)
    try:
        cursor, staleness = store.cursor(), store.staleness()
        row: dict[str, Any] = {
            "log_epoch": cursor.log_epoch,
            "position": cursor.position,
            "clients": store.count(),
            "confirmed_seconds_ago": None if staleness == float("inf") else round(staleness, 1),
        }
    finally:
        store.close()
    show_one(row, as_json=as_json)


@projection.command("verify")
def verify_projection(context: typer.Context, *, as_json: Json = False) -> None:
    """Compare the projection with the registry, at the same position and by checksum."""
    settings: Settings = context.obj
    store = _open(settings)
    try:
        row = asyncio.run(_verify(settings, store))
    except (TransientFailure, ProjectionDamaged) as error:
        fail(str(error))
    finally:
        store.close()
    show_one(row, as_json=as_json)
    if not row["same"]:
        fail("the projection differs from the registry; `oauthapps projection rebuild` remakes it")


async def _verify(settings: Settings, store: Projection) -> dict[str, Any]:
    async with _feed(settings) as feed:
        for _ in range(ATTEMPTS):
            async with feed.snapshot() as (head, records):
                theirs = checksum([record async for record in records])
            cursor, ours = store.checksum()
            if (cursor.log_epoch, cursor.position) == (head.log_epoch, head.position):
                return {"position": head.position, "checksum": ours, "same": ours == theirs}
            await asyncio.sleep(0.2)
    message = (
        f"the projection is at {cursor.position}, the registry at {head.position}: it is behind"
    )
    raise TransientFailure(message)


@projection.command("rebuild")
def rebuild_projection(context: typer.Context, *, as_json: Json = False) -> None:
    """Put the registry's snapshot in place of the projection; requests are served meanwhile."""
    settings: Settings = context.obj
    store = _open(settings)
    try:
        head = asyncio.run(_rebuild(settings, store))
        row = {"position": head.position, "clients": store.count(), "rebuilt": True}
    except TransientFailure as error:
        fail(str(error))
    finally:
        store.close()
    show_one(row, as_json=as_json)


async def _rebuild(settings: Settings, store: Projection) -> SnapshotHead:
    async with _feed(settings) as feed:
        for _ in range(ATTEMPTS):
            try:
                async with feed.snapshot() as (head, records):
                    # A running projector may have overtaken the snapshot: take a newer one.
                    await store.replace_all(head, records, only_forward=True)
                    return head
            except CursorMoved:
                continue
    message = "events come faster than snapshots; try again"
    raise TransientFailure(message)


def _feed(settings: Settings) -> FeedClient:
    credential = load_credential(settings.in_var(settings.internal.credential_file))
    return FeedClient(settings.registry_url, credential)


def _open(settings: Settings) -> Projection:
    folder = settings.in_var(settings.token.projection)
    if not folder.exists():
        fail(f"{folder}: no projection yet; the token service makes it")
    try:
        # No repair: what a running service has open is not put away under it.
        return Projection(folder, map_size=settings.token.projection_map_size, repair=False)
    except ProjectionDamaged as error:
        fail(f"{error}; restart the token service, which makes it anew")
