"""What an operator does on a bad day: each drill breaks something, and ends."""

import pytest

from tests.operations.conftest import Desk
from tests.operations.scenarios import DRILLS


@pytest.mark.timeout(300)
async def test_every_drill_shows_what_the_handbook_says_and_ends(
    desk_with_broker: Desk,
) -> None:
    """A remedy that was never tried is a hope."""
    await desk_with_broker.work_through(DRILLS)
