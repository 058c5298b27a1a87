"""`make audit`: known vulnerabilities of all that is locked, or plainly that nothing was checked.

Exit status 0 when none is known, 1 when one is, 3 when not everything could be checked.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supply_chain.locked import ALL, locked

NONE_KNOWN, SOME_KNOWN, NOT_CHECKED = 0, 1, 3
Package = tuple[str, str]


@dataclass
class Findings:
    """What a service knows."""

    checked: set[Package] = field(default_factory=set)
    # Ids, and the versions that mend it.
    known: dict[Package, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))


class NoAnswer(Exception):
    """A service of advisories did not answer."""


def ask(service: str, packages: Sequence[Package], extra: Sequence[str] = ()) -> Findings:
    """Return what a service knows of packages. Raises NoAnswer."""
    findings = Findings()
    for some in _rounds(packages):
        for one in _answer(service, some, extra):
            if "skip_reason" in one:
                continue
            package = one["name"], one["version"]
            findings.checked.add(package)
            for vulnerability in one["vulns"]:
                mended = ", ".join(vulnerability["fix_versions"]) or "no version"
                findings.known[package].append((vulnerability["id"], mended))
    return findings


def _rounds(packages: Sequence[Package]) -> list[list[Package]]:
    """Part packages so that none is asked about in two versions at once: pip-audit refuses that."""
    rounds: list[dict[str, str]] = []
    for name, version in packages:
        free = next((one for one in rounds if name not in one), None)
        if free is None:
            rounds.append(free := {})
        free[name] = version
    return [list(one.items()) for one in rounds]


def _answer(
    service: str, packages: Sequence[Package], extra: Sequence[str]
) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in packages))
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(file), "--no-deps"]
        options = ["--disable-pip", "--progress-spinner", "off", "--format", "json"]
        asked = subprocess.run(
            [*command, *options, "--vulnerability-service", service, *extra],
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        found: list[dict[str, Any]] = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        said = asked.stderr.strip().splitlines() or ["it said nothing"]
        raise NoAnswer(said[-1]) from None
    return found


def audit(service: str, packages: Sequence[Package], extra: Sequence[str] = ()) -> int:
    """Ask a service about packages; say what it knows; return the exit status."""
    try:
        findings = ask(service, packages, extra)
    except NoAnswer as reason:
        print(f"could not reach {service}: {reason}", file=sys.stderr)
        findings = Findings()
    for (name, version), known in sorted(findings.known.items()):
        for identifier, mended in known:
            print(f"{name} {version}: {identifier}, mended in {mended}")
    if not findings.checked:
        print(f"NOTHING WAS CHECKED, of {len(packages)} packages", file=sys.stderr)
        return NOT_CHECKED
    missed = [one for one in packages if one not in findings.checked]
    for name, version in missed:
        print(f"NOT CHECKED: {name} {version}, which {service} does not know", file=sys.stderr)
    print(f"{service}: {len(findings.checked)} packages checked, {len(findings.known)} with faults")
    if findings.known:
        return SOME_KNOWN
    return NOT_CHECKED if missed else NONE_KNOWN


def main() -> int:
    """Audit everything in the requirements files."""
    parser = argparse.ArgumentParser(prog="make audit")
    parser.add_argument("--service", choices=["osv", "pypi"], default="osv")
    parser.add_argument("--osv-url", help="where OSV, or a mirror of it, answers")
    parser.add_argument("requirements", nargs="*", type=Path, default=ALL)
    given = parser.parse_args()
    extra = ["--osv-url", given.osv_url] if given.osv_url else []
    return audit(given.service, locked(*given.requirements), extra)


if __name__ == "__main__":
    sys.exit(main())
