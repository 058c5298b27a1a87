"""Files that change while somebody reads them."""

from pathlib import Path


def put(file: Path, text: str) -> None:
    """Write a file in one step: nobody reads half of it, or nothing."""
    beside = file.with_suffix(".new")
    beside.write_text(text)
    beside.replace(file)
