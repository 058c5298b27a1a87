"""The compose file is for docker-compose 1.29 as well."""

import shutil
import subprocess

import pytest

from tests.compose.stack import FILES


async def test_it_reads_the_file() -> None:
    """Debian 12 has no newer one."""
    program = shutil.which("docker-compose")
    if program is None or "1.29" not in _run(program, "--version"):
        pytest.skip("no docker-compose 1.29 here")
    said = _run(program, "--file", str(FILES[0]), "--profile", "dev", "config", "--services")
    assert {"registry", "token", "notifier", "caddy", "mailpit"} <= set(said.split())


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
