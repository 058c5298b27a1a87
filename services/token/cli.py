"""The command line of the token service: serve, keys, projection."""

import asyncio
from typing import Annotated, Any, get_args

import typer

from services.token import keys as signing_keys
from services.token.app import create_app
from services.token.projection import CursorMoved, Projection, ProjectionDamaged
from shared.clients import SnapshotHead, checksum
from shared.config import Settings, with_port
from shared.console import fail, show, show_one
from shared.failures import TransientFailure
from shared.feed_client import FeedClient
from shared.server import PortInUse, StartFailed, bind, run
from shared.service_credential import load as load_credential
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
            run(app, listener)
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
    known: dict[str, signing_keys.Algorithm] = {
        one.lower(): one for one in get_args(signing_keys.Algorithm)
    }
    if algorithm.lower() not in known:
        message = "choose RS256, ES256 or EdDSA"
        raise typer.BadParameter(message, param_hint="--algorithm")
    private = settings.in_var(settings.token.private_key)
    public = settings.in_var(settings.token.public_key)
    try:
        key = signing_keys.generate(private, public, known[algorithm.lower()])
    except (signing_keys.KeyExists, signing_keys.KeyUnusable) as error:
        fail(str(error))
    row = {"algorithm": key.algorithm, "kid": key.kid}
    show_one({**row, "private_key": str(private), "public_key": str(public)}, as_json=as_json)


@keys.command("list")
def list_keys(context: typer.Context, *, as_json: Json = False) -> None:
    """Show the signing keys, or why they cannot be used."""
    settings: Settings = context.obj
    private = settings.in_var(settings.token.private_key)
    try:
        key = signing_keys.load(private, settings.in_var(settings.token.public_key))
    except signing_keys.KeyUnusable as error:
        fail(str(error))
    row = {"kid": key.kid, "algorithm": key.algorithm, "state": "current", "file": str(private)}
    show([row], ["kid", "algorithm", "state", "file"], as_json=as_json)


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
