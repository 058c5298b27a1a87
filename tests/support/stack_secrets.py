"""The secrets of the containers, made by the program that makes them there."""

import subprocess
import sys
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"
READERS = ("grafana", "migrate", "notifier", "postgres", "rabbitmq", "registry", "token")


def make_secrets(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Make them under `folder`: all in `all`, and those of each reader in a folder of its name."""
    for name in ("all", *READERS):
        (folder / name).mkdir(exist_ok=True)
    return subprocess.run(
        (
            *(sys.executable, str(DEPLOY / "secrets" / "make.py")),
            *(str(folder / "all"), str(folder), str(DEPLOY / "rabbitmq" / "definitions.json")),
        ),
        check=False,
        capture_output=True,
        text=True,
    )


def contents_of(folder: Path) -> dict[str, str]:
    """Return every file under a folder."""
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    return {str(one.relative_to(folder)): one.read_text(encoding="utf-8").strip() for one in files}
