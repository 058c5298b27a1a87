"""The secret by which our services know each other."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.service_credential import is_presented, load, load_or_create
from shared.setting_values import ConfigurationError


def test_it_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """0600, with nothing left beside it."""
    path = tmp_path / "var" / "credential"

    first, second = load_or_create(path), load_or_create(path)

    assert first == second == load(path)
    assert len(first) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path] == list(path.parent.iterdir())


def test_one_that_is_there_is_only_read(tmp_path: Path) -> None:
    """It may be mounted where nothing can be written: nothing is drafted beside it."""
    path = tmp_path / "credential"
    made = load_or_create(path)
    before = tmp_path.stat().st_mtime_ns

    assert load_or_create(path) == made
    assert tmp_path.stat().st_mtime_ns == before


def test_those_who_start_together_agree_on_one(tmp_path: Path) -> None:
    """Whoever comes second takes the first one's."""
    path = tmp_path / "credential"
    with ThreadPoolExecutor(16) as threads:
        made = set(threads.map(lambda _: load_or_create(path), range(64)))

    assert made == {load(path)}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file; `oauthapps migrate` makes it"),
        (b"", "shorter than 32"),
        (b"short\n", "shorter than 32"),
        ("é".encode() * 40, "not ASCII"),
    ],
)
def test_one_that_is_of_no_use_is_named_with_the_remedy(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    """An empty credential would let everybody in."""
    path = tmp_path / "credential"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=says) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("Bearer {}", True),
        ("bearer {}", True),
        ("Bearer  {} ", True),
        ("Basic {}", False),
        ("{}", False),
        ("Bearer {}x", False),
        ("Bearer ", False),
        ("Bearer é", False),
        ("", False),
        (None, False),
    ],
)
def test_it_is_presented_as_a_bearer_token(authorization: str | None, expected: bool) -> None:  # noqa: FBT001
    """Whole, or not at all."""
    credential = "c" * 43
    header = authorization.format(credential) if authorization else authorization

    assert expected == is_presented(credential, header)
