"""No file says where packages or images come from: that is each machine's own configuration."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
FILES = [
    ROOT / "Makefile",
    *ROOT.glob("requirements*.txt"),
    *ROOT.glob("tests/*/package*.json"),
    *ROOT.glob("tests/*/.npmrc"),
    *(one for one in (ROOT / "deploy").rglob("*") if one.is_file() and "secrets" not in one.parts),
]
_HOST = re.compile(r"(?:https?|git|ssh)://([\w.-]+\.[a-z]{2,})", re.IGNORECASE)
_OPTION = re.compile(r"--(?:extra-)?index-url|--find-links|\"resolved\"")


def places(text: str) -> set[str]:
    """Return the hosts and options of a text that say where something is to be fetched."""
    # Of packages' own pages, which npm notes too.
    text = re.sub(r'"url": "[^"]*"', "", text)
    hosts = {host for host in _HOST.findall(text) if not host.endswith("example.com")}
    return hosts | set(_OPTION.findall(text))


def test_no_file_names_a_place_to_fetch_from() -> None:
    """It would be asked even where another one is configured, and would be refused there."""
    found = {str(one.relative_to(ROOT)): places(one.read_text(encoding="utf-8")) for one in FILES}

    assert len(found) > 20
    assert {name: hosts for name, hosts in found.items() if hosts} == {}


def test_a_place_is_seen() -> None:
    """A check that never fires holds nothing."""
    text = "--index-url https://packages.example.org/simple\nhttps://apps.example.com"

    assert places(text) == {"packages.example.org", "--index-url"}
