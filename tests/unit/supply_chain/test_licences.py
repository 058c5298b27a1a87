"""The licences of what we ship: each judged, and listed."""

from importlib import metadata

import pytest

from supply_chain import licences
from supply_chain.licences import DOCUMENT, READ, document, is_acceptable, licence_of, shipped


def test_every_licence_of_what_we_ship_was_judged() -> None:
    """A new dependency, or a new licence of one, is looked at by somebody before it is shipped."""
    assert {name: one for name, one in shipped().items() if not is_acceptable(one)} == {}


def test_the_list_of_licences_is_up_to_date() -> None:
    """`make licences` writes it."""
    assert DOCUMENT.read_text(encoding="utf-8") == document(shipped())


@pytest.mark.parametrize(
    ("expression", "acceptable"),
    [
        ("MIT", True),
        ("MIT OR Apache-2.0", True),
        ("GPL-3.0-only OR MIT", True),
        ("Apache-2.0 AND BSD-2-Clause", True),
        ("(GPL-2.0-only OR MIT) AND BSD-3-Clause", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_a_licence_that_nobody_judged_is_refused(expression: str, *, acceptable: bool) -> None:
    """Of a choice one is enough; of what holds together each counts."""
    assert is_acceptable(expression) == acceptable


def test_what_the_package_says_counts_before_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a change of its licence is seen."""
    monkeypatch.setitem(READ, "rich", "ISC")

    assert licence_of("rich") == metadata.metadata("rich")["License"] == "MIT"


def test_a_package_that_says_nothing_we_know_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words such as `BSD License` are those of several licences."""
    monkeypatch.setattr(licences, "READ", {})

    assert licence_of("jinja2") == "unknown"
    assert licence_of("no-such-package-here") == "unknown"
