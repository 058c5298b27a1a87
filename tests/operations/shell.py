"""A bash that an operator types into: variables and services live from one block to the next."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.operations.handbook import Block

BLOCK_SECONDS = 60.0
STOP_SECONDS = 10.0
_DONE = "\x02done\x03"


class Shell:
    """Runs blocks in a folder of its own; a command that fails ends it, with all it has started.

    `ports` are those that stand in for the ones of the document, `programs` folders of commands.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        ports: Mapping[int, int],
        *,
        programs: Sequence[Path],
    ) -> None:
        self._folder = folder
        self._ports = ports
        path = ":".join(map(str, (*programs, Path(sys.executable).parent, os.environ["PATH"])))
        self._environment = {**os.environ, "PATH": path, "NO_PROXY": "*", **environment}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *("bash", "--norc", "-eo", "pipefail"),
            cwd=self._folder,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        for how in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                # What it has started is in its group, and holds its output until the end.
                os.killpg(self._process.pid, how)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.communicate()

    async def run(self, block: Block) -> str:
        """Run a block as it stands; return what it printed, which has all that should be seen."""
        output = await self.type(block.code, name=block.name)
        missing = block.missing_in(output)
        assert missing is None, f"{block.name}: {missing!r} was not seen in\n{output}"
        return output

    async def type(self, commands: str, *, name: str = "commands of the test") -> str:
        """Run commands, and return what they printed."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        file = self._folder / ".block"
        file.write_text(self._with_our_ports(commands), encoding="utf-8")
        # From a file: whatever reads standard input would read our next commands.
        self._process.stdin.write(f"source ./.block < /dev/null\nprintf '{_DONE}'\n".encode())
        await self._process.stdin.drain()
        said = b""
        try:
            async with asyncio.timeout(BLOCK_SECONDS):
                said = await self._process.stdout.readuntil(_DONE.encode())
        except asyncio.IncompleteReadError as ended:
            said = ended.partial
        except TimeoutError:
            message = f"{name}: not done after {BLOCK_SECONDS:.0f} s\n{commands}{self._logs()}"
            raise AssertionError(message) from None
        output = said.decode()
        failed = f"{name}: a command failed\n{commands}\n{output}{self._logs()}"
        assert output.endswith(_DONE), failed
        return output.removesuffix(_DONE)

    def _with_our_ports(self, commands: str) -> str:
        numbers = "|".join(map(str, self._ports))
        return re.sub(rf"\b({numbers})\b", lambda one: str(self._ports[int(one[1])]), commands)

    def _logs(self) -> str:
        return "".join(
            f"\n{one.name}: …{one.read_text(encoding='utf-8')[-2000:]}"
            for one in sorted(self._folder.glob("*.log"))
        )
