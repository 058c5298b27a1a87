"""`make sbom`: the bill of materials (CycloneDX 1.6, JSON), the same for the same input.

Of what `make install` brings, or of an image with `--image NAME`: its Python packages, and the
Debian packages below them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path
from typing import Any

from supply_chain.licences import READ
from supply_chain.locked import ROOT, SHIPPED, locked

Bill = dict[str, Any]


class NotInstalled(Exception):
    """What is installed is not what is locked; `make install` makes it so."""


def bill_of_lock(folder: Path) -> Bill:
    """Return the bill of what is locked and installed here; `folder` is empty. Raises NotInstalled.

    Packages of other platforms are not in it.
    """
    for name, version in locked(SHIPPED):
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if found.version != version:
            message = f"{name} is {found.version} here and locked as {version}; make install"
            raise NotInstalled(message)
        # Beside each other without the packages of development.
        # At the top: some packages hold others.
        (file,) = (one for one in found.files or () if _is_metadata(one.parts))
        source = Path(str(found.locate_file(file))).parent
        (folder / source.name).symlink_to(source)
    return bill_of(folder)


def _is_metadata(parts: tuple[str, ...]) -> bool:
    return len(parts) == 2 and parts[0].endswith(".dist-info") and parts[1] == "METADATA"


def bill_of(packages: Path) -> Bill:
    """Return the bill of a folder of installed packages."""
    with tempfile.TemporaryDirectory() as folder:
        # The tool asks an interpreter where its packages are; this one knows of one place.
        interpreter = Path(folder) / "python"
        interpreter.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps([str(packages)])}\nEND\n")
        interpreter.chmod(0o700)
        command = [sys.executable, "-m", "cyclonedx_py", "environment", str(interpreter)]
        project = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible"]
        made = subprocess.run([*command, *project], check=True, capture_output=True, text=True)
    bill: Bill = json.loads(made.stdout)
    for one in bill["components"]:
        if "licenses" not in one and one["name"] in READ:
            # The tool leaves out what is declared in other words than SPDX has.
            one["licenses"] = [{"expression": READ[one["name"]]}]
    return bill


def bill_of_image(image: str, folder: Path) -> Bill:
    """Return the bill of an image, with its Debian packages; `folder` is empty."""
    with _container(image) as container:
        for source in ("/opt/oauthapps/lib", "/var/lib/dpkg/status"):
            command = ["docker", "cp", f"{container}:{source}", str(folder)]
            subprocess.run(command, check=True, capture_output=True)
    (packages,) = folder.glob("lib/python3.*/site-packages")
    bill = bill_of(packages)
    bill["components"] += debian_packages((folder / "status").read_text(encoding="utf-8"))
    return bill


def debian_packages(status: str) -> list[Bill]:
    """Return the packages that dpkg's status file says are installed, as components."""
    parsed = [HeaderParser().parsestr(one) for one in status.split("\n\n") if one.strip()]
    return [
        {
            "bom-ref": f"deb:{one['Package']}:{one['Architecture']}",
            "name": one["Package"],
            "purl": f"pkg:deb/debian/{one['Package']}@{one['Version'].replace('+', '%2B')}"
            f"?arch={one['Architecture']}",
            "type": "library",
            "version": one["Version"],
        }
        for one in sorted(parsed, key=lambda one: (one["Package"], one["Architecture"]))
        if one["Status"] == "install ok installed"
    ]


@contextmanager
def _container(image: str) -> Iterator[str]:
    made = subprocess.run(
        ["docker", "create", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        yield made
    finally:
        subprocess.run(["docker", "rm", made], check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    """Write the bill to a file, or to standard output."""
    parser = argparse.ArgumentParser(prog="make sbom")
    parser.add_argument("--image", help="of this image, which docker has")
    parser.add_argument("--output", type=Path, help="file to write to")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        try:
            bill = bill_of_image(given.image, place) if given.image else bill_of_lock(place)
        except NotInstalled as reason:
            print(reason, file=sys.stderr)
            return 1
    text = json.dumps(bill, indent=2, sort_keys=True) + "\n"
    if given.output is None:
        sys.stdout.write(text)
    else:
        given.output.write_text(text, encoding="utf-8")
        print(f"{len(bill['components'])} components in {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
