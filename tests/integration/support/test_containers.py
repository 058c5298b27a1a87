"""Whether the tests take containers."""

import pytest

from tests.support.container_postgres import IMAGE
from tests.support.containers import obstacle


def test_a_run_can_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an engine answers that is not meant for tests."""
    monkeypatch.setenv("OAUTHAPPS_TEST_CONTAINERS", "no")
    obstacle.cache_clear()
    try:
        assert obstacle(IMAGE) == "OAUTHAPPS_TEST_CONTAINERS is no"
    finally:
        obstacle.cache_clear()
