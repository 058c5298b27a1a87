"""The bill of materials: complete, valid, and the same each time."""

import json
from importlib import metadata
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from supply_chain import sbom
from supply_chain.locked import SHIPPED, locked
from supply_chain.sbom import Bill, NotInstalled, bill_of_lock, debian_packages

STATUS = """\
Package: zlib1g
Status: install ok installed
Architecture: amd64
Version: 1:1.3.dfsg+really1.3.1-1+b1
Description: compression library - runtime
 It says more
 .
 over several lines.

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0

Package: adduser
Status: install ok installed
Architecture: all
Version: 3.152
"""


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Bill:
    """The bill of what is installed here."""
    return bill_of_lock(tmp_path_factory.mktemp("bill"))


def test_the_bill_is_valid_and_has_what_is_locked(bill: Bill) -> None:
    """By CycloneDX's own schema; each package by name and version, with a licence."""
    bill = {**bill, "components": [*bill["components"], *debian_packages(STATUS)]}

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    here = {one.metadata["Name"].lower().replace("_", "-") for one in metadata.distributions()}
    expected = {f"pkg:pypi/{n}@{v}" for n, v in locked(SHIPPED) if n in here}
    purls = {one["purl"] for one in bill["components"] if one["purl"].startswith("pkg:pypi/")}
    assert purls == expected
    assert len(purls) > 50
    assert all("licenses" in one for one in bill["components"] if "pypi" in one["purl"])
    assert bill["metadata"]["component"]["name"] == "oauthapps"


def test_the_bill_is_the_same_each_time(bill: Bill, tmp_path: Path) -> None:
    """Two of them can be compared, and the difference is what changed."""
    assert json.dumps(bill_of_lock(tmp_path)) == json.dumps(bill)


def test_a_bill_of_something_else_than_the_lock_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would name versions that nobody ships."""
    monkeypatch.setattr(sbom, "locked", lambda _: [("rich", "0.1")])

    with pytest.raises(NotInstalled, match=r"rich is .* here and locked as 0\.1"):
        bill_of_lock(tmp_path)


def test_debian_packages_of_an_image_are_those_that_are_installed() -> None:
    """As package URLs, by which scanners look them up."""
    assert [one["purl"] for one in debian_packages(STATUS)] == [
        "pkg:deb/debian/adduser@3.152?arch=all",
        "pkg:deb/debian/zlib1g@1:1.3.dfsg%2Breally1.3.1-1%2Bb1?arch=amd64",
    ]
