"""The containers, brought up once for all tests here: `make test-compose`."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.compose.stack import Stack

REPLICAS = 3


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let all of them share the loop of the stack."""
    for item in items:
        item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    """All containers, healthy; their last words are shown where a test failed."""
    async with Stack() as stack:
        yield stack
        if request.session.testsfailed:
            reporter = request.config.pluginmanager.get_plugin("terminalreporter")
            assert reporter is not None
            reporter.section("what the containers said")
            reporter.write(await stack.logs("--tail", "100"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def replicas(stack: Stack) -> Stack:
    """The stack, with three token services."""
    await stack.compose(
        "up", "--detach", "--no-recreate", "--no-build", "--scale", f"token={REPLICAS}"
    )
    await stack.is_well()
    return stack
