"""What an operator does on a good day, as the handbook says it."""

import pytest

from tests.operations.conftest import Desk
from tests.operations.scenarios import HOUSE


@pytest.mark.timeout(300)
async def test_the_daily_commands_do_what_the_handbook_says(desk: Desk) -> None:
    """Whoever follows it must come to where it leads."""
    await desk.work_through(HOUSE)
