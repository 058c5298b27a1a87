"""`oauthapps`: the command line of all three services; see `up`, which runs them in one process."""

import os
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import nullcontext, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from shared.config import CONFIG_VARIABLE, VAR_VARIABLE, load
from shared.logs import configure

# Where the commands are. Each is imported when it is asked for: all of them take most of a second.
COMMANDS = {
    "migrate": "services.migration:migrate",
    "up": "services.up:up",
    "status": "services.status.cli:status",
    "registry": "services.registry.cli:registry",
    "token": "services.token.cli:token",
    "notifier": "services.notifier.cli:notifier",
    "keys": "services.token.cli:keys",
    "organizations": "services.registry.organizations_cli:organizations",
    "users": "services.erasure:users",
    "directory": "services.registry.directory_cli:directory",
    "applications": "services.registry.applications_cli:applications",
    "events": "services.registry.events_cli:events",
    "notifications": "services.notifier.cli:notifications",
    "projection": "services.token.cli:projection",
}


class Commands(TyperGroup):
    """A group that, asked for nothing, shows its help where errors go: it is wrong usage."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return what is left of the arguments."""
        # The help is printed while the error is made, to whatever standard output is by then.
        with nullcontext() if args else redirect_stdout(sys.stderr):
            return super().parse_args(ctx, args)


class Imported(MutableMapping[str, Any]):
    """The commands by name, imported one by one."""

    def __init__(self) -> None:
        self._commands: dict[str, Any] = dict.fromkeys(COMMANDS)

    def __getitem__(self, name: str) -> Any:
        if self._commands[name] is None:
            self._commands[name] = _imported(name)
        return self._commands[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)


def _imported(name: str) -> Any:
    module, _, attribute = COMMANDS[name].partition(":")
    found = getattr(import_module(module), attribute)
    parent = typer.Typer()
    if isinstance(found, typer.Typer):
        parent.add_typer(found, name=name, cls=Commands, no_args_is_help=True)
    else:
        parent.command(name)(found)
    return typer.main.get_group(parent).commands[name]


class Root(Commands):
    """The group of everything."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = Imported()


cli = typer.Typer(
    name="oauthapps",
    cls=Root,
    help="Hands out, watches and withdraws OAuth 2.0 client credentials.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


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
    except Exception as error:  # noqa: BLE001 - shown to the one who can do something
        # Imported now: most commands need little of what can be raised.
        from services.failure import sentence_of  # noqa: PLC0415

        typer.echo(f"oauthapps: {sentence_of(error)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
