"""`oauthapps up`: all three services in one process, with what they need beside them."""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
import uvloop

from services.embedded.mail_catcher import MailCatcher
from services.embedded.postgres import EmbeddedPostgres
from services.migration import migrate_all
from services.notifier import app as notifier_app
from services.registry import app as registry_app
from services.registry import demo
from services.token import app as token_app
from services.token import keys as signing_keys
from shared.config import Settings, load
from shared.logs import configure
from shared.server import Server, StartFailed, bind, serve
from shared.service_credential import load_or_create
from shared.trust import trusted

READY_POLL_SECONDS = 0.05
# Without keys the token service cannot be ready, and all else works: `up` says so and goes on.
TOLERATED = frozenset({"keys"})


def up(
    context: typer.Context,
    registry_port: Annotated[int | None, typer.Option(min=1, max=65535)] = None,
    token_port: Annotated[int | None, typer.Option(min=1, max=65535)] = None,
    notifier_port: Annotated[int | None, typer.Option(min=1, max=65535)] = None,
    smtp_port: Annotated[int | None, typer.Option(min=1, max=65535)] = None,
    database_url: Annotated[str | None, typer.Option(help="Use this Postgres.")] = None,
    amqp_url: Annotated[str | None, typer.Option(help="Publish to this RabbitMQ.")] = None,
    *,
    no_demo: Annotated[
        bool, typer.Option("--no-demo", help="Make no organization, users and application.")
    ] = False,
) -> None:
    """Run all three services here: Postgres from a wheel, mail kept under var/mail."""
    overrides: dict[str, Any] = {
        "registry": {"port": registry_port, "database": {"url": database_url}},
        "token": {"port": token_port},
        "notifier": {
            "port": notifier_port,
            "database": {"url": database_url},
            "smtp": {"port": smtp_port},
        },
        "bus": {"url": amqp_url},
    }
    settings = load(overrides=_given(overrides))
    # The same configuration once more: one that says nothing of the format is read by a person.
    configure(settings.logs.model_copy(update={"format": "console"}), "up")
    try:
        uvloop.run(_up(settings, with_demo=not no_demo))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    _ = context


def _given(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what was not given on the command line."""
    given: dict[str, Any] = {}
    for name, value in overrides.items():
        kept = _given(value) if isinstance(value, Mapping) else value
        if kept not in (None, {}):
            given[name] = kept
    return given


async def _up(settings: Settings, *, with_demo: bool) -> None:
    """Start everything in order, serve until a signal, end everything in the opposite order."""
    settings.var.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        stack.enter_context(_alone(settings.var))
        # Ports first: one that is in use shall cost nobody a wait.
        sockets = {
            part: stack.enter_context(bind(host, port, option=f"--{part}-port"))
            for part, host, port in (
                ("registry", settings.registry.host, settings.registry.port),
                ("token", settings.token.host, settings.token.port),
                ("notifier", settings.notifier.host, settings.notifier.port),
                ("smtp", settings.notifier.smtp.host, settings.notifier.smtp.port),
            )
        }
        if settings.registry.database.url is None and settings.registry.database.url_file is None:
            await stack.enter_async_context(EmbeddedPostgres(settings.var))
        mail = settings.var / "mail"
        await stack.enter_async_context(MailCatcher(mail, sockets["smtp"]))
        load_or_create(settings.in_var(settings.internal.credential_file))
        await migrate_all(settings)
        _make_keys(settings)
        made = await demo.make_demo(settings) if with_demo else None
        # Ctrl-C is for a person who waits.
        server = settings.server.model_copy(update={"drain": timedelta(0)})
        apps = [
            (Server(registry_app.create_app(settings), server), sockets["registry"]),
            (Server(token_app.create_app(settings), server), sockets["token"]),
            (Server(notifier_app.create_app(settings), server), sockets["notifier"]),
        ]
        async with _announcing(settings, made):
            await serve(apps)


def _make_keys(settings: Settings) -> None:
    """Make signing keys if there is no file of either; what is there is for its owner to mend."""
    private = settings.in_var(settings.token.private_key)
    public = settings.in_var(settings.token.public_key)
    if not private.exists() and not public.exists():
        signing_keys.generate(private, public, "RS256")


@contextmanager
def _alone(var: Path) -> Iterator[None]:
    """Hold the state folder for this process. Raises StartFailed when another one has it."""
    with (var / "up.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another `oauthapps up` runs with {var}; end it, or choose --var DIR"
            raise StartFailed(message) from None
        yield


@asynccontextmanager
async def _announcing(settings: Settings, made: demo.Demo | None) -> AsyncIterator[None]:
    """Say what can be done, and `ready` once all three services answer."""
    task = asyncio.create_task(_announce(settings, made))
    try:
        yield
    finally:
        task.cancel()


async def _announce(settings: Settings, made: demo.Demo | None) -> None:
    troubles = await _until_ready(
        [
            f"http://{_reachable(part.host)}:{part.port}/readyz"
            for part in (settings.registry, settings.token, settings.notifier)
        ]
    )
    typer.echo(f"registry {settings.public_url}   tokens {settings.issuer}/oauth2-token")
    typer.echo(f"mail     {settings.var / 'mail'}/*.eml")
    if made is not None:
        typer.echo(f"\norganization   {demo.ORGANIZATION}")
        typer.echo(f"administrator  {demo.ADMINISTRATOR}   password {made.administrator_password}")
        typer.echo(f"user           {demo.USER}    password {made.user_password}")
        typer.echo("\nThese passwords and this secret are shown this once. Get a token:\n")
        credentials = f"{made.application.client_id}:{made.application.client_secret}"
        url = f"{settings.issuer}/oauth2-token"
        typer.echo(f"  curl -s -u '{credentials}' -d grant_type=client_credentials {url}\n")
    for trouble in troubles:
        typer.echo(f"not ready: {trouble}")
    typer.echo("ready")


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound


async def _until_ready(urls: Sequence[str]) -> list[str]:
    """Return when every service is ready, but for what may be lacking; say what that is."""
    async with httpx.AsyncClient(verify=trusted(), trust_env=False) as http:
        while True:
            answers = [await _failing(http, url) for url in urls]
            if all(failing is not None and failing.keys() <= TOLERATED for failing in answers):
                return [
                    f"{check}: {reason}"
                    for failing in answers
                    for check, reason in (failing or {}).items()
                ]
            await asyncio.sleep(READY_POLL_SECONDS)


async def _failing(http: httpx.AsyncClient, url: str) -> dict[str, str] | None:
    """Return the checks that fail, or None when the service does not answer yet."""
    try:
        response = await http.get(url)
        checks: dict[str, str] = response.json()["checks"]
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    if response.is_success:
        return {}
    return {name: outcome for name, outcome in checks.items() if outcome != "ok"}
