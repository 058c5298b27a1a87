"""docs/operations.md as a list of commands, each with what should be seen."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "docs" / "operations.md"
# Fences may be indented, in a list.
_PART = re.compile(
    r"^#+ (?P<heading>[^\n]+)$|^ *```(?P<language>\w*)\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_SEEN = re.compile(r"#.*→ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block of shell commands; `name` is its heading, and its number under it."""

    name: str
    code: str

    @property
    def seen(self) -> list[str]:
        """What the commands should print, in order; `…` stands for anything."""
        return [one.strip() for one in _SEEN.findall(self.code)]

    def missing_in(self, output: str) -> str | None:
        """Return the first thing that should have been printed and was not."""
        text, at = " ".join(output.split()), 0
        for expected in self.seen:
            parts = [re.escape(" ".join(one.split())) for one in expected.split("…")]
            found = re.compile(".*?".join(parts)).search(text, at)
            if found is None:
                return expected
            at = found.end()
        return None


def blocks_in(text: str) -> dict[str, Block]:
    """Return the shell blocks of a document by name."""
    blocks: dict[str, Block] = {}
    heading, number = "", 0
    for part in _PART.finditer(text):
        if part["heading"]:
            heading, number = part["heading"], 0
        elif part["language"] in ("sh", "bash", "shell", "console"):
            number += 1
            name = f"{heading} {number}"
            assert name not in blocks, f"two headings {heading!r}"
            blocks[name] = Block(name, part["code"])
    return blocks


def operations() -> dict[str, Block]:
    """Return the blocks of docs/operations.md."""
    return blocks_in(OPERATIONS.read_text(encoding="utf-8"))
