"""What a screen reader would stumble over, on every page, in light and dark, wide and narrow."""

from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

from tests.browser.conftest import NARROW, WIDE, Desk
from tests.integration.pages.visitor import give_password

# As the browser is.
pytestmark = pytest.mark.asyncio(loop_scope="session")


async def check(page: Page) -> None:
    """Assert that nothing is wrong, and that nothing has to be scrolled sideways."""
    await page.wait_for_load_state("load")
    # While something fades in, its colours are others.
    await page.evaluate("Promise.all(document.getAnimations().map(one => one.finished))")
    found: Any = await Axe().run(page)
    wrong = [
        (one["id"], node["html"][:200])
        for one in found.response["violations"]
        for node in one["nodes"]
    ]
    assert wrong == [], page.url
    assert len(found.response["passes"]) > 10, "axe-core has looked at nothing"
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_for_everybody(desk: Desk, scheme: str, size: tuple[int, int]) -> None:
    """axe-core finds nothing on any page, nor in any dialog."""
    api = desk.api
    await api.house.directory.add_organization("Everywhere", global_access=True)
    chief = await api.user(
        "chief@example.com", organizations=["Example", "Everywhere"], administrator=True
    )
    await give_password(api, chief)
    page = await desk.page(size, scheme=scheme)
    await page.goto("/login")
    await check(page)
    await page.get_by_label("E-mail address").fill("chief@example.com")
    await page.get_by_label("Password").fill("wrong")
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_text("E-mail address or password is wrong.").wait_for()
    await check(page)
    await page.get_by_label("Password").fill("correct horse battery")
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("**/my-user")
    await check(page)
    application_id, _ = await api.application_of(chief, name="A " + "long " * 12 + "name")
    await api.house.pool.execute(
        "INSERT INTO registry.usage (application_id, secret_id, day, count, last_used_at)"
        " SELECT id, gen_random_uuid(), (now() AT TIME ZONE 'UTC')::date, 412, now()"
        "   FROM registry.applications WHERE id = $1",
        application_id,
    )
    await api.http.post(f"/api/applications/{api.application_id}/deactivate")
    base = f"/applications/{application_id}"
    for path in (
        "/my-user",
        "/my-user?name=nothing",
        "/my-user/applications/new",
        "/my-user/password",
        "/system/oauth-applications",
        "/system/oauth-applications/new",
        base,
        *(f"{base}/{one}" for one in ("edit", "deactivate", "rotate-secret", "delete")),
        "/applications/nothing",
    ):
        await page.goto(path)
        await check(page)
    await page.goto("/my-user")
    await page.get_by_label("More Options").first.click()
    await check(page)
    await page.get_by_role("link", name="Edit").first.click()
    await page.get_by_role("dialog").wait_for()
    await check(page)
    await page.goto("/my-user")
    await page.get_by_role("link", name="Add Application").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Application Name").fill(" ")
    await dialog.get_by_role("button", name="Create").click()
    await dialog.locator(".error").wait_for()
    await check(page)
    await dialog.get_by_label("Application Name").fill("Fine")
    await dialog.get_by_role("button", name="Create").click()
    await dialog.locator("#client-secret").wait_for()
    await check(page)
