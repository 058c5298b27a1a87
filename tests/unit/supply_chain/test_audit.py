"""The audit: what is known is told, and what was not checked is never passed off as good."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from supply_chain.locked import ALL, SHIPPED, locked
from tests.support.ports import free_port

ROOT = Path(__file__).parents[3]


@contextmanager
def advisories(known: dict[tuple[str, str], dict[str, Any]]) -> Iterator[str]:
    """Answer as OSV does, and know of some vulnerabilities; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = known.get((asked["package"]["name"], asked["version"]))
            content = json.dumps({"vulns": [found]} if found else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def audit(address: str, *files: Path) -> "subprocess.CompletedProcess[str]":
    """Run what `make audit` runs."""
    return subprocess.run(
        [sys.executable, "-m", "supply_chain.audit", "--osv-url", address, *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """A lock as ours: hashes, a marker of another platform, and one package in two versions."""
    file = tmp_path / "requirements.txt"
    file.write_text(
        "click==8.1.0 \\\n    --hash=sha256:00\n"
        "colorama==0.4.6 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
        "httpx==0.27.0 ; python_full_version < '3.12'\n"
        "httpx==0.28.1 ; python_full_version >= '3.12'\n"
    )
    return file


def test_what_is_known_is_told_and_fails(requirements: Path) -> None:
    """For every version that is locked, on whatever platform."""
    fault = {
        "id": "PYSEC-2026-1",
        "affected": [
            {
                "package": {"name": "httpx", "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "0.28.0"}]}],
            }
        ],
    }
    with advisories({("httpx", "0.27.0"): fault}) as address:
        result = audit(address, requirements)

    assert result.returncode == 1
    assert result.stdout == (
        "httpx 0.27.0: PYSEC-2026-1, mended in 0.28.0\nosv: 4 packages checked, 1 with faults\n"
    )


def test_where_nothing_is_known_it_says_how_many_were_checked(requirements: Path) -> None:
    """So that a file that was misread is seen."""
    with advisories({}) as address:
        result = audit(address, requirements)

    assert (result.returncode, result.stdout) == (0, "osv: 4 packages checked, 0 with faults\n")


def test_where_nobody_can_be_asked_it_says_so_and_fails(requirements: Path) -> None:
    """With a status of its own: it is no finding, and no good news."""
    result = audit(f"http://127.0.0.1:{free_port()}/", requirements)

    assert result.returncode == 3
    assert result.stdout == ""
    assert "could not reach osv: " in result.stderr
    assert "NOTHING WAS CHECKED, of 4 packages\n" in result.stderr


def test_everything_that_is_locked_is_audited() -> None:
    """Tools of development run on the machines of those who make the releases."""
    packages = locked(*ALL)

    assert SHIPPED in ALL
    assert {name for name, _ in packages} > {"starlette", "pytest", "colorama"}
