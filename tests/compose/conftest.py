"""The containers, brought up once for all tests here: `make test-compose`."""

import subprocess
from collections.abc import AsyncIterator, Generator

import pytest
import pytest_asyncio

from tests.compose.stack import PROJECT, Stack

REPLICAS = 3


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let all of them share the loop of the stack."""
    for item in filter(pytest_asyncio.is_async_test, items):
        item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the containers said during a test that failed."""
    report = yield
    if report.failed:
        command = ("docker", "compose", "--project-name", PROJECT, "logs", "--no-color")
        since = ("--since", str(int(call.start)), "--tail", "200")
        said = subprocess.run([*command, *since], check=False, capture_output=True, text=True)
        report.sections.append(("containers", said.stdout + said.stderr))
    return report


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack() -> AsyncIterator[Stack]:
    """All containers, healthy."""
    async with Stack() as stack:
        yield stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def replicas(stack: Stack) -> Stack:
    """The stack, with three token services."""
    await stack.compose(
        "up", "--detach", "--no-recreate", "--no-build", "--scale", f"token={REPLICAS}"
    )
    await stack.is_well()
    return stack
