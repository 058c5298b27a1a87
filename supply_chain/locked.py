"""The requirements files: what is locked, by name and version."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What is installed where the services run; the files of development have it and more.
SHIPPED = ROOT / "requirements.txt"
ALL = sorted(ROOT.glob("requirements*.txt"))
_LINE = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def locked(*files: Path) -> list[tuple[str, str]]:
    """Return name and version of all that is locked, for whatever platform, each once."""
    return sorted({found for one in files for found in _LINE.findall(one.read_text("utf-8"))})
