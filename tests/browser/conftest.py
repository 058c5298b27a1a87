"""A real browser, Debian's Chromium, before a running registry."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests.integration.pages.visitor import PASSWORD, give_password
from tests.integration.registry.api import Api, api_of, served
from tests.integration.registry.house import House, house_in
from tests.support.missing import missing
from tests.support.postgres import Databases

WIDE, NARROW = (1600, 900), (360, 740)
# It speaks to nobody but us.
FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
)


@dataclass
class Desk:
    """A browser in which nobody is logged in, and what went wrong in it."""

    api: Api
    url: str
    browser: Browser
    stack: AsyncExitStack
    complaints: list[str]

    async def page(
        self, size: tuple[int, int] = WIDE, *, scheme: Any = "light", scripts: bool = True
    ) -> Page:
        """Open a window."""
        context = await self.browser.new_context(
            base_url=self.url,
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            java_script_enabled=scripts,
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(10_000)
        self.stack.push_async_callback(context.close)
        page = await context.new_page()
        page.on("console", lambda one: self._complain(one.type, one.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def _complain(self, kind: str, text: str) -> None:
        # Chromium reports every answer of 4xx by itself; a refused form is one, and fine.
        if kind in ("error", "warning") and "the server responded with a status of" not in text:
            self.complaints.append(text)

    async def logged_in(self, email: str = "owner@example.com", **given: Any) -> Page:
        """Open a window and log in."""
        page = await self.page(**given)
        await log_in(page, email)
        return page


async def log_in(page: Page, email: str = "owner@example.com") -> None:
    """Log in."""
    await page.goto("/login")
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("**/my-user")


def chromium() -> str:
    """Return the browser's program."""
    found = os.environ.get("OAUTHAPPS_TEST_CHROMIUM") or shutil.which("chromium")
    if found is None:
        missing("no browser for the tests: install chromium")
    return found


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Start a browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(),
            args=[*FLAGS, *(["--no-sandbox"] if os.getuid() == 0 else [])],
        )
        yield browser
        await browser.close()


@asynccontextmanager
async def desk_in(house: House, var: Path, browser: Browser) -> AsyncIterator[Desk]:
    """Start a registry."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(api_of(house, var))
        await give_password(api, house.owner)
        url = await stack.enter_async_context(served(api))
        yield Desk(api, url, browser, stack, [])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The program; each window that a test opens shares nothing with another."""
    async with running_browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def desk(databases: Databases, tmp_path: Path, browser: Browser) -> AsyncIterator[Desk]:
    """A registry and a browser; whatever the browser complained of fails the test."""
    async with house_in(databases) as house, desk_in(house, tmp_path, browser) as desk:
        yield desk
        assert desk.complaints == []
