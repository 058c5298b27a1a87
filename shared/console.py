"""What the command line prints: tables for people, JSON for programs, one line for an error."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table


def fail(message: str) -> NoReturn:
    """Print one line to standard error and end with status 1."""
    typer.echo(f"oauthapps: {message}", err=True)
    raise typer.Exit(1)


def show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as a table of some columns, or whole as a JSON array."""
    if as_json:
        show_json(list(rows))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_text(row.get(column)) for column in columns))
    _console().print(table)


def show_one(row: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one thing: a line for each member, or a JSON object."""
    if as_json:
        show_json(row)
        return
    width = max(len(name) for name in row)
    for name, value in row.items():
        typer.echo(f"{name.replace('_', ' '):<{width}}  {_text(value)}")


def show_json(value: Any) -> None:
    """Print a value as indented JSON."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show on standard error how much of a whole is done, if a person watches."""
    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with bar:
        task = bar.add_task(what, total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, Mapping):
        return str(value.get("name", "")) or msgspec.json.encode(value).decode()
    if isinstance(value, list | tuple):
        return " ".join(_text(one) for one in value)
    return str(value)


def _console() -> Console:
    # A pipe has no width: wrap nothing that a program may want to read line by line.
    return Console(width=None if sys.stdout.isatty() else 1000, highlight=False, markup=False)
