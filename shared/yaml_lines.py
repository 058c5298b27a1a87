"""Where in a YAML text a value stands, so that a fault can name the line."""

from collections.abc import Sequence
from pathlib import Path

import yaml


def place_of(file: Path, setting: Sequence[str | int]) -> str:
    """Return `FILE, line N` of a setting, or of the nearest above it; else the file alone."""
    try:
        line = line_of(file.read_text(encoding="utf-8"), setting)
    except (OSError, ValueError, yaml.YAMLError):
        line = None
    return str(file) if line is None else f"{file}, line {line}"


def line_of(text: str, setting: Sequence[str | int]) -> int | None:
    """Return the line of a setting, counted from 1; of the nearest above it if it is not there.

    None when not even the first step of the way is. Raises YAMLError.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = None
    for step in setting:
        found = _child(node, step)
        if found is None:
            break
        line, node = found
    return line


def _child(node: yaml.Node | None, step: str | int) -> tuple[int, yaml.Node] | None:
    """Return the line and the node of a member; of several with one name, the last counts."""
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):
            if key.value == str(step):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line + 1, node.value[step]
    return None
