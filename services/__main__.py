"""`oauthapps`: the command line of all three services, and `up`, which runs them in one process."""

import asyncio
import fcntl
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
import uvloop
from starlette.applications import Starlette
from typer.core import TyperGroup

from services.embedded.mail_catcher import MailCatcher
from services.embedded.postgres import EmbeddedPostgres, EmbeddedPostgresError
from services.notifier import app as notifier_app
from services.notifier import cli as notifier_cli
from services.registry import app as registry_app
from services.registry import cli as registry_cli
from services.registry import demo
from services.registry.applications_cli import applications
from services.registry.desk import run_at_desk
from services.registry.directory_cli import directory
from services.registry.events_cli import events
from services.registry.organizations_cli import organizations
from services.registry.users_cli import users
from services.token import app as token_app
from services.token import cli as token_cli
from services.token import keys as signing_keys
from shared.config import CONFIG_VARIABLE, VAR_VARIABLE, ConfigurationError, Settings, load
from shared.console import show_json, show_one
from shared.logs import configure, get_logger, scrub
from shared.postgres import TRANSIENT_ERRORS, DatabaseError, dsn_of, migrate_database
from shared.server import PortInUse, StartFailed, bind, serve
from shared.service_credential import load_or_create

READY_POLL_SECONDS = 0.05
# Without keys the token service cannot be ready, and all else works: `up` says so and goes on.
TOLERATED = frozenset({"keys"})
log = get_logger(__name__)


class Commands(TyperGroup):
    """A group that, asked for nothing, shows its help where errors go: it is wrong usage."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return what is left of the arguments."""
        # The help is printed while the error is made, to whatever standard output is by then.
        with nullcontext() if args else redirect_stdout(sys.stderr):
            return super().parse_args(ctx, args)


cli = typer.Typer(
    name="oauthapps",
    cls=Commands,
    help="Hands out, watches and withdraws OAuth 2.0 client credentials.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for name, commands in {
    "registry": registry_cli.registry,
    "token": token_cli.token,
    "notifier": notifier_cli.notifier,
    "keys": token_cli.keys,
    "organizations": organizations,
    "users": users,
    "directory": directory,
    "applications": applications,
    "events": events,
    "notifications": notifier_cli.notifications,
    "projection": token_cli.projection,
}.items():
    cli.add_typer(commands, name=name, cls=Commands, no_args_is_help=True)


@cli.callback()
def common(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help=f"Configuration; or {CONFIG_VARIABLE}. [config.yml]")
    ] = None,
    var: Annotated[
        Path | None, typer.Option(help=f"Folder of keys and state; or {VAR_VARIABLE}. [var]")
    ] = None,
) -> None:
    """Hand out, watch and withdraw OAuth 2.0 client credentials."""
    # Worker processes find the same files by the environment.
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config)
    if var is not None:
        os.environ[VAR_VARIABLE] = str(var)
    if "--help" in sys.argv:
        return
    context.obj = load()
    configure(context.obj.logs, context.invoked_subcommand or "oauthapps")


@users.command("erase")
def erase_user(
    context: typer.Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Their e-mail address or id.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Erase what is known of a person, in both databases, and deactivate their applications."""
    user = run_at_desk(context, lambda desk: desk.directory.user(email))
    # From here on the address may lead nowhere.
    again = f"; run it again: oauthapps users erase {user.id} --yes"
    if not yes:
        question = f"Erase name, address and password of {email} (user {user.id}) for good?"
        typer.confirm(question, abort=True, err=True)
    run_at_desk(context, lambda desk: desk.switch.erase(user.id, desk.author()), again)
    withheld = notifier_cli.forget(context, user.id, again)
    show_one({"id": user.id, "erased": True, "mails_withheld": withheld}, as_json=as_json)


@cli.command()
def migrate(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring both databases up to date, and make the service credential if there is none."""
    settings: Settings = context.obj
    load_or_create(settings.in_var(settings.internal.credential_file))
    applied = asyncio.run(_migrate(settings))
    if as_json:
        show_json({"applied": applied})
    else:
        typer.echo("\n".join(f"applied {one}" for one in applied) or "nothing to do")


async def _migrate(settings: Settings) -> list[str]:
    applied = []
    for app, database in (
        (registry_app, settings.registry.database),
        (notifier_app, settings.notifier.database),
    ):
        dsn = dsn_of(database, settings.var, setting=app.DATABASE_SETTING)
        applied += await migrate_database(dsn, app.SCHEMA, app.MIGRATIONS)
    return applied


@cli.command()
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
        await _migrate(settings)
        _make_keys(settings)
        made = await demo.make_demo(settings) if with_demo else None
        apps: list[tuple[Starlette, Any]] = [
            (registry_app.create_app(settings), sockets["registry"]),
            (token_app.create_app(settings), sockets["token"]),
            (notifier_app.create_app(settings), sockets["notifier"]),
        ]
        async with _announcing(settings, made):
            await serve(apps)


def _make_keys(settings: Settings) -> None:
    """Make signing keys if there is no file of either; what is there is for its owner to mend."""
    private = settings.in_var(settings.token.private_key)
    public = settings.in_var(settings.token.public_key)
    if not private.exists() and not public.exists():
        signing_keys.generate(private, public, "RS256")


class _alone:  # noqa: N801 - used like a function
    """Hold the state folder for this process. Raises StartFailed when another one has it."""

    def __init__(self, var: Path) -> None:
        self._file = (var / "up.lock").open("a")
        self._var = var

    def __enter__(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another `oauthapps up` runs with {self._var}; end it, or choose --var DIR"
            raise StartFailed(message) from None

    def __exit__(self, *_: object) -> None:
        self._file.close()


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
    async with httpx.AsyncClient(trust_env=False) as http:
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


def _with_common_options_first(arguments: Sequence[str]) -> list[str]:
    """Let --config and --var stand anywhere: `oauthapps up --var /tmp/here`."""
    common_options: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
        elif argument in ("--config", "--var"):
            common_options += [argument, *([value] if (value := next(remaining, None)) else [])]
        elif argument.startswith(("--config=", "--var=")):
            common_options.append(argument)
        else:
            rest.append(argument)
    return common_options + rest


def main() -> None:
    """Run a command; whatever goes wrong is one line on standard error and status 1."""
    sys.argv[1:] = _with_common_options_first(sys.argv[1:])
    try:
        cli()
    except (
        ConfigurationError,
        DatabaseError,
        EmbeddedPostgresError,
        PortInUse,
        StartFailed,
        signing_keys.KeyUnusable,
        signing_keys.KeyExists,
    ) as error:
        _fail(str(error))
    except TRANSIENT_ERRORS as error:
        _fail(f"a connection or file failed: {str(error) or type(error).__name__}")
    except Exception as error:
        log.debug("unexpected", exc_info=error)
        _fail(
            f"unexpected {type(error).__name__}: {error} (OAUTHAPPS_LOGS__LEVEL=debug shows where)"
        )


def _fail(message: str) -> None:
    typer.echo(f"oauthapps: {scrub(' '.join(message.split()))}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
