"""`oauthapps status`: the whole system on one screen, once or again and again."""

import asyncio
import sys
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from services.status.findings import find
from services.status.inquiry import inquire
from services.status.screen import screen
from services.status.shape import Status
from shared.config import Settings
from shared.console import show_json

# 2 is wrong usage, as for all commands; an error of this one, such as in the configuration, is 1.
EXIT_STATUS = {"ok": 0, "attention": 1, "down": 3}
WATCH_SECONDS = 2.0


def status(
    context: typer.Context,
    seconds: Annotated[
        float | None,
        typer.Argument(min=0.1, help="With --watch: how long between two looks. [2]"),
    ] = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how everything is: services, log, RabbitMQ, projections, keys, mail.

    Exit status: 0 all is well, 1 a person should look, 3 a service is not there or not ready.
    """
    if seconds is not None and not watch:
        message = "goes with --watch"
        raise typer.BadParameter(message, param_hint="SECONDS")
    settings: Settings = context.obj
    if watch:
        found = _watch(settings, seconds or WATCH_SECONDS, as_json=as_json)
    else:
        found = _look(settings)
        _show(found, as_json=as_json)
    raise typer.Exit(EXIT_STATUS[found.state])


def _look(settings: Settings) -> Status:
    return find(asyncio.run(inquire(settings)), datetime.now(UTC))


def _watch(settings: Settings, seconds: float, *, as_json: bool) -> Status:
    """Show the same place anew; to a pipe one after the other. Return the last."""
    found = _look(settings)
    is_live = sys.stdout.isatty() and not as_json
    live = Live(console=_console(), auto_refresh=False, screen=True) if is_live else None
    try:
        if live is not None:
            live.start()
        while True:
            if live is not None:
                live.update(screen(found), refresh=True)
            else:
                _show(found, as_json=as_json)
            time.sleep(seconds)
            found = _look(settings)
    except KeyboardInterrupt:
        return found
    finally:
        if live is not None:
            live.stop()
            # What was seen last stays.
            _show(found, as_json=False)


def _show(found: Status, *, as_json: bool) -> None:
    if as_json:
        show_json(found)
    else:
        console = _console()
        if console.is_terminal:
            console.print(screen(found))
            return
        with console.capture() as captured:
            console.print(screen(found))
        # A table fills its columns.
        for line in captured.get().splitlines():
            typer.echo(line.rstrip())


def _console() -> Console:
    # A pipe has no width: wrap nothing that a program may want to read line by line.
    return Console(width=None if sys.stdout.isatty() else 1000, highlight=False, markup=False)
