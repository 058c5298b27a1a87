"""Every block of the handbook is run, and shows something."""

import asyncio
import re
import shlex
import sys

from tests.operations.handbook import ROOT, blocks_in, operations
from tests.operations.scenarios import BACKUP, DRILLS, HOUSE, NOT_RUN, RESTORE

RUN = {*HOUSE, *DRILLS, *BACKUP, *RESTORE}


def test_every_block_has_its_place() -> None:
    """A new one is run, or says why not; one that is gone leaves nothing behind."""
    assert set(operations()) == RUN | set(NOT_RUN)
    assert RUN.isdisjoint(NOT_RUN)


def test_every_block_says_what_is_seen() -> None:
    """A command that ends well may have done nothing."""
    assert [name for name in RUN if not operations()[name].seen] == []


def test_what_was_not_seen_is_found_out() -> None:
    """A check that never fires holds nothing."""
    text = "# One\n\n1. Do\n\n   ```sh\n   say a   # twice → a … b\n   say c   # → c\n   ```\n"
    block = blocks_in(text)["One 1"]

    assert block.seen == ["a … b", "c"]
    assert block.missing_in("a\n x b\nc") is None
    assert block.missing_in("a b") == "c"
    assert block.missing_in("c a b") == "c"
    assert block.missing_in("b a c") == "a … b"


async def test_what_measures_is_there() -> None:
    """The figures are only as good as the commands that give them."""
    commands = re.findall(r"^python (-m bench\.\w+)", operations()["Sizing 1"].code, re.MULTILINE)
    assert len(commands) >= 6

    async def helps(command: str) -> bool:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *shlex.split(command), "--help"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
        return process.returncode == 0 and b"--" in said

    assert all([await helps(one) for one in commands])
