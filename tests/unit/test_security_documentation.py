"""What the documents say about security, held against the tests that show it."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.unit.test_documentation import ROOT, SECURITY, rows_of, section

HARDENING = (ROOT / "docs" / "hardening.md").read_text(encoding="utf-8")
OAUTH, ASVS = HARDENING.split("## OWASP ASVS", maxsplit=1)
VERDICTS = ("yes", "partly", "no", "n/a")
_TEST = re.compile(r"`([^`]+)::(\w+)`")
# Of ASVS 5.0.0: how many requirements a section has, and which of them are of level 3 alone.
SECTIONS: dict[str, tuple[int, tuple[int, ...]]] = {
    "1.1": (2, ()), "1.2": (10, (10,)), "1.3": (12, (12,)), "1.4": (3, ()), "1.5": (3, (3,)),
    "2.1": (3, ()), "2.2": (3, ()), "2.3": (5, (5,)), "2.4": (2, (2,)),
    "3.1": (1, (1,)), "3.2": (3, (3,)), "3.3": (5, (5,)), "3.4": (8, (7, 8)),
    "3.5": (8, (6, 7, 8)), "3.6": (1, (1,)), "3.7": (5, (3, 4, 5)),
    "4.1": (5, (4, 5)), "4.2": (5, (2, 3, 4, 5)), "4.3": (2, ()), "4.4": (4, ()),
    "5.1": (1, ()), "5.2": (6, (4, 5, 6)), "5.3": (3, (3,)), "5.4": (3, ()),
    "6.1": (3, ()), "6.2": (12, ()), "6.3": (8, (5, 6, 7, 8)), "6.4": (6, (5, 6)),
    "6.5": (8, (6, 7, 8)), "6.6": (4, (4,)), "6.7": (2, (1, 2)), "6.8": (4, ()),
    "7.1": (3, ()), "7.2": (4, ()), "7.3": (2, ()), "7.4": (5, ()), "7.5": (3, (3,)),
    "7.6": (2, ()),
    "8.1": (4, (3, 4)), "8.2": (4, (4,)), "8.3": (3, (2, 3)), "8.4": (2, (2,)),
    "9.1": (3, ()), "9.2": (4, ()),
    "10.1": (2, ()), "10.2": (3, (3,)), "10.3": (5, (5,)), "10.4": (16, (12, 13, 14, 15, 16)),
    "10.5": (5, ()), "10.6": (2, ()), "10.7": (3, ()),
    "11.1": (4, (3, 4)), "11.2": (5, (4, 5)), "11.3": (5, (4, 5)), "11.4": (4, ()),
    "11.5": (2, (2,)), "11.6": (2, (2,)), "11.7": (2, (1, 2)),
    "12.1": (5, (4, 5)), "12.2": (2, ()), "12.3": (5, (5,)),
    "13.1": (4, (2, 3, 4)), "13.2": (6, (6,)), "13.3": (4, (3, 4)), "13.4": (7, (6, 7)),
    "14.1": (2, ()), "14.2": (8, (5, 6, 7, 8)), "14.3": (3, ()),
    "15.1": (5, (4, 5)), "15.2": (5, (4, 5)), "15.3": (7, ()), "15.4": (4, (1, 2, 3, 4)),
    "16.1": (1, ()), "16.2": (5, ()), "16.3": (4, ()), "16.4": (3, ()), "16.5": (4, (4,)),
    "17.1": (2, (2,)), "17.2": (8, (5, 6, 7, 8)), "17.3": (2, ()),
}  # fmt: skip
# As its introduction counts them.
LEVELS_1_AND_2 = 253


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return the names of the tests of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        one.name
        for one in ast.walk(tree)
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name.startswith("test_")
    )


def unknown_tests(cell: str) -> list[str]:
    """Return the tests of a cell that there are not."""
    return [
        f"{path}::{name}"
        for path, name in _TEST.findall(cell)
        if not (ROOT / "tests" / path).is_file() or name not in names_in(ROOT / "tests" / path)
    ]


def faults_of(row: list[str]) -> list[str]:
    """Return what is wrong with a row of the tables."""
    _, _, verdict, how, tests = row
    faults = unknown_tests(tests)
    if verdict not in VERDICTS:
        faults.append(f"{verdict} is none of {', '.join(VERDICTS)}")
    if (verdict in ("yes", "partly")) != bool(_TEST.findall(tests)):
        faults.append("shown by a test is what is met, and nothing else")
    if verdict != "yes" and not how:
        faults.append("says not why")
    return [f"{row[0]}: {one}" for one in faults]


@pytest.mark.parametrize("row", rows_of(HARDENING), ids=lambda row: row[0])
def test_every_line_is_shown_by_tests_that_exist_or_says_why_not(row: list[str]) -> None:
    """A promise that nothing holds is worth nothing."""
    assert faults_of(row) == []


def test_a_line_that_shows_nothing_is_seen() -> None:
    """A check that never fires holds nothing."""
    test = "`unit/test_security_documentation.py::test_a_line_that_shows_nothing_is_seen`"
    assert faults_of(["1", "x", "yes", "", test]) == []
    assert len(faults_of(["1", "x", "yes", "", ""])) == 1
    assert len(faults_of(["1", "x", "partly", "", test])) == 1
    assert len(faults_of(["1", "x", "no", "not yet", test])) == 1
    assert len(faults_of(["1", "x", "maybe", "so", ""])) == 1
    assert len(faults_of(["1", "x", "yes", "", "`unit/nowhere.py::test_x`"])) == 1
    assert len(faults_of(["1", "x", "yes", "", test.replace("shows_nothing", "is_not")])) == 1


def test_each_requirement_of_levels_1_and_2_has_its_line() -> None:
    """None is passed over, none is made up, none is there twice."""
    required = {
        f"{part}.{number}"
        for part, (count, level_3) in SECTIONS.items()
        for number in range(1, count + 1)
        if number not in level_3
    }
    named = Counter(one for row in rows_of(ASVS) for one in row[0].split(", "))

    assert len(required) == LEVELS_1_AND_2
    assert named == Counter(dict.fromkeys(required, 1))


def test_the_sum_is_that_of_the_lines() -> None:
    """It is what most people read."""
    met = Counter(row[2] for row in rows_of(ASVS) for _ in row[0].split(", "))

    assert (
        f"Of {met.total()} requirements {met['yes']} are met, {met['partly']} in part, "
        f"{met['no']} not, and {met['n/a']} do not apply."
    ) in ASVS


def test_every_boundary_of_the_picture_is_described() -> None:
    """Who talks to whom is what a threat model stands on."""
    boundaries = section(SECURITY, "Boundaries")
    drawn = set(re.findall(r"\((\d+)\)", boundaries.split("```")[1]))
    described = [row[0] for row in rows_of(boundaries)]

    assert len(drawn) > 5
    assert sorted(described) == sorted(set(described))
    assert set(described) == drawn
