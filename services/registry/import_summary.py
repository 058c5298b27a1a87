"""How an import ends on the command line."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from services.registry.json_lines import Fault
from shared.console import fail, show_json, show_one


def show_summary(
    counts: Mapping[str, int], failed: Sequence[Fault], *, as_json: bool, **more: Any
) -> None:
    """Print how many lines were taken how, and each that was not; then the status is 1."""
    for one in failed:
        typer.echo(f"line {one.line}: {one.reason}", err=True)
    if as_json:
        show_json({**counts, "failed": failed, **more})
    else:
        show_one({**counts, "failed": len(failed)}, as_json=False)
    if failed:
        fail(f"{len(failed)} lines were not taken")
