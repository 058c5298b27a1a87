"""What happens to a test whose real part is not on this machine."""

import os
from typing import NoReturn

import pytest


def missing(part: str) -> NoReturn:
    """Skip the test; where CI is set, fail: there nothing may be skipped unseen."""
    if os.environ.get("CI"):
        pytest.fail(part, pytrace=False)
    pytest.skip(part)
