"""What the guide for troubles quotes, held against what the programs say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.unit.test_documentation import rows_of

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
GAP = "…"
_CODE = re.compile(r"`([^`]+)`")
# What is marked as code where it is said cannot be marked in a quotation.
_SAID = str.maketrans({"`": None})


def quoted() -> Iterator[str]:
    """Yield what the first column of each table says that a program says."""
    for row in rows_of(GUIDE):
        yield from _CODE.findall(row[0])


def sentences() -> Iterator[str]:
    """Yield every text in our programs, with a gap for each part that is put in."""
    for folder in ("services", "shared"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(map(_part, node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def _part(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else GAP


def is_said(quotation: str, said: list[str]) -> bool:
    """Tell whether some sentence has what stands between the gaps, in this order."""
    parts = [re.escape(one) for one in quotation.split(GAP)]
    pattern = re.compile(".*".join(parts))
    return any(pattern.search(one) for one in said)


def test_everything_that_is_quoted_is_said() -> None:
    """Whoever searches the guide for the line in their log must find it there."""
    said = [one.translate(_SAID) for one in sentences()]
    assert [one for one in quoted() if not is_said(one, said)] == []
    assert len(list(quoted())) > 40


def test_what_nobody_says_is_found_out() -> None:
    """A check that never fires holds nothing."""
    said = [f"Postgres at {GAP} does not answer ({GAP}); start it"]
    assert is_said("Postgres at … does not answer (…)", said)
    assert not is_said("Postgres at … does not reply", said)


def test_every_line_of_readyz_is_in_the_guide_or_beside_it() -> None:
    """Each has a place where it is explained."""
    explained = GUIDE + (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    for service in ("registry", "token", "notifier"):
        source = (ROOT / "services" / service / "app.py").read_text(encoding="utf-8")
        for name in re.findall(r'"(\w+)": (?:lambda|\w+\.\w+\.read|check_\w+|database\b)', source):
            assert f"`{name}`" in explained, f"{service}: {name}"
