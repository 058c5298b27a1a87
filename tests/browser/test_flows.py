"""What people do on the pages, in a real browser."""

import asyncio
import re
from contextlib import suppress
from typing import Any

import pytest
from playwright.async_api import Error, Page, expect

from services.registry.filters import Filter
from shared.problem import KEYS_MISSING
from tests.browser.conftest import NARROW, Desk, log_in
from tests.integration.pages.visitor import PASSWORD
from tests.support.eventually import eventually

# As the browser is.
pytestmark = pytest.mark.asyncio(loop_scope="session")


async def names(desk: Desk) -> list[str]:
    """Return the names of all applications."""
    items, _ = await desk.api.house.lists.page(Filter(), limit=50)
    return [one.name for one in items]


async def add(page: Page, name: str) -> str:
    """Add an application in the dialog; return its secret, with the dialog still open."""
    await page.get_by_role("link", name="Add Application").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Application Name").fill(name)
    await dialog.get_by_role("button", name="Create").click()
    secret = await dialog.locator("#client-secret").text_content()
    assert secret is not None
    return secret


async def test_an_application_is_added_and_its_credentials_are_copied(desk: Desk) -> None:
    """With one click each; the dialog closes on a grid that has it."""
    page = await desk.logged_in()
    secret = await add(page, "Nightly import")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("we cannot show it to you again")
    await dialog.get_by_role("button", name="Copy Client Secret to Clipboard").click()
    await expect(dialog.get_by_role("button", name="Copied to clipboard")).to_be_visible()
    copied = await page.evaluate("navigator.clipboard.readText()")
    await dialog.get_by_role("link", name="Close").click()

    await expect(page.locator("td.name", has_text="Nightly import")).to_be_visible()
    assert copied == secret
    await expect(page.locator("body")).not_to_contain_text(secret)


async def test_going_back_never_shows_a_secret_again(desk: Desk) -> None:
    """Neither from the dialog nor from the page that stands in its place."""
    page = await desk.logged_in()
    secret = await add(page, "One")
    await page.goto("/system/oauth-applications")
    await page.go_back()
    await expect(page.locator("td.name", has_text="One")).to_be_visible()
    await expect(page.locator("body")).not_to_contain_text(secret)

    plain = await desk.logged_in(scripts=False)
    await plain.get_by_role("link", name="Add Application").click()
    await plain.get_by_label("Application Name").fill("Two")
    await plain.get_by_role("button", name="Create").click()
    shown = await plain.locator("#client-secret").text_content()
    await plain.get_by_role("link", name="Close").click()
    with suppress(Error):
        # Not kept, so that it would have to be sent again: the browser asks, and shows nothing.
        await plain.go_back()
    await expect(plain.locator("body")).not_to_contain_text(str(shown))


async def test_more_options_change_an_application(desk: Desk) -> None:
    """Each leads back to the grid, with a word that it was done."""
    page = await desk.logged_in()
    await add(page, "CI")
    await page.get_by_role("link", name="Close").click()
    dialog, notice = page.get_by_role("dialog"), page.locator(".notice")
    row = page.locator("tr", has_text=re.compile("CI|Build"))

    async def choose(option: str) -> None:
        await row.locator("summary").click()
        await row.get_by_text(option, exact=True).click()

    await choose("Edit")
    await dialog.get_by_label("Application Name").fill("Build")
    await dialog.get_by_role("button", name="Save").click()
    await expect(notice).to_have_text("Saved successfully")
    await choose("Deactivate")
    await expect(dialog).to_contain_text("Are you sure you want to deactivate the application?")
    await expect(dialog).to_contain_text("It has never been used.")
    await dialog.get_by_role("button", name="Yes, do it").click()
    await expect(notice).to_have_text("Deactivated successfully")
    await expect(row).to_contain_text("Inactive")
    await choose("Activate")
    await expect(notice).to_have_text("Activated successfully")
    await choose("Rotate secret")
    await dialog.get_by_role("button", name="Rotate secret").click()
    await expect(dialog.locator("#client-secret")).to_be_visible()
    await dialog.get_by_role("link", name="Close").click()
    await choose("Delete")
    await dialog.get_by_role("link", name="Cancel").click()
    await expect(dialog).to_be_hidden()
    await choose("Delete")
    await dialog.get_by_role("button", name="Yes, Delete").click()
    await expect(notice).to_have_text("Deleted successfully")
    assert await names(desk) == ["caller"]


async def test_everything_can_be_done_with_the_keyboard_alone(desk: Desk) -> None:
    """The focus is where one is, and comes back from where one was."""
    page = await desk.page()
    await page.goto("/my-user")
    keys = page.keyboard
    # The browser puts the focus there after the page has loaded; keys pressed before are lost.
    await expect(page.get_by_label("E-mail address")).to_be_focused()
    await keys.type("owner@example.com")
    await keys.press("Tab")
    await keys.type(PASSWORD)
    await keys.press("Enter")
    await page.wait_for_url("**/my-user")
    await keys.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await keys.press("Enter")
    link = page.get_by_role("link", name="Add Application")
    for _ in range(12):
        await keys.press("Tab")
        if await link.evaluate("one => one === document.activeElement"):
            break
    await keys.press("Enter")
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("Application Name")).to_be_focused()
    await keys.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(link).to_be_focused()
    await keys.press("Enter")
    await expect(dialog.get_by_label("Application Name")).to_be_focused()
    await keys.type("By hand")
    await keys.press("Enter")
    await expect(dialog.locator("#client-secret")).to_be_visible()
    await keys.press("Escape")
    menu = page.get_by_label("More Options for By hand")
    await menu.focus()
    await keys.press("Enter")
    await expect(page.get_by_role("link", name="Edit")).to_be_visible()
    await keys.press("Escape")
    await expect(page.get_by_role("link", name="Edit")).to_be_hidden()
    await expect(menu).to_be_focused()


async def test_a_name_that_exists_is_said_in_the_dialog(desk: Desk) -> None:
    """At the field, with what was typed."""
    page = await desk.logged_in()
    await add_refused(page, "caller")
    dialog = page.get_by_role("dialog")
    field = dialog.get_by_label("Application Name")
    await expect(dialog).to_contain_text("The application with the given name already exists.")
    await expect(field).to_have_value("caller")
    await expect(field).to_be_focused()
    await field.fill("Another")
    await dialog.get_by_role("button", name="Create").click()
    await expect(dialog.locator("#client-secret")).to_be_visible()


async def add_refused(page: Page, name: str) -> None:
    """Send the form in the dialog."""
    await page.get_by_role("link", name="Add Application").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Application Name").fill(name)
    await dialog.get_by_role("button", name="Create").click()


async def test_a_session_that_ends_in_a_dialog_costs_nothing_typed(desk: Desk) -> None:
    """Login, and back to the dialog as it was, on the page it was opened from."""
    page = await desk.logged_in()
    await page.goto("/my-user?status=active")
    await page.get_by_role("link", name="Add Application").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Application Name").fill("Half done")
    await desk.api.house.pool.execute("DELETE FROM registry.sessions")
    await dialog.get_by_role("button", name="Create").click()
    await page.wait_for_url("**/login?**")
    await page.get_by_label("E-mail address").fill("owner@example.com")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()

    await expect(dialog.get_by_label("Application Name")).to_have_value("Half done")
    await page.wait_for_url("**/my-user?status=active")
    await dialog.get_by_role("button", name="Create").click()
    await expect(dialog.locator("#client-secret")).to_be_visible()
    await dialog.get_by_role("link", name="Close").click()
    await expect(page.locator("td.name", has_text="Half done")).to_be_visible()
    await expect(dialog).to_be_hidden()


async def test_keys_that_vanish_while_the_page_is_open_are_said_in_the_dialog(desk: Desk) -> None:
    """Nothing is added, and once they are there again it goes on."""
    page = await desk.logged_in()
    await page.get_by_role("link", name="Add Application").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Application Name").fill("Too early")
    desk.api.issuer.keys.clear()
    other = await page.context.new_page()

    async def missing() -> bool:
        await other.goto("/my-user")
        return await other.get_by_text(KEYS_MISSING).count() > 0

    await eventually(missing, 40)
    await dialog.get_by_role("button", name="Create").click()
    await expect(dialog).to_contain_text(KEYS_MISSING)
    await expect(dialog.get_by_label("Application Name")).to_have_value("Too early")
    await page.goto("/my-user")
    await expect(page.get_by_role("alert")).to_have_text(KEYS_MISSING)
    await expect(page.get_by_role("button", name="Add Application")).to_be_disabled()
    assert await names(desk) == ["caller"]


async def test_a_double_click_adds_one(desk: Desk) -> None:
    """And shows its secret."""
    page = await desk.logged_in()
    await page.get_by_role("link", name="Add Application").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Application Name").fill("Twice")
    await dialog.get_by_role("button", name="Create").dblclick()
    await expect(dialog.locator("#client-secret")).to_be_visible()

    plain = await desk.logged_in(scripts=False)
    await plain.get_by_role("link", name="Add Application").click()
    await plain.get_by_label("Application Name").fill("Thrice")
    await plain.get_by_role("button", name="Create").dblclick()
    await expect(plain.locator("#client-secret")).to_be_visible()
    assert sorted(await names(desk)) == ["Thrice", "Twice", "caller"]


async def test_a_change_by_somebody_else_is_said_in_the_dialog(desk: Desk) -> None:
    """What was typed is kept, and may stand."""
    page = await desk.logged_in()
    await page.get_by_label("More Options for caller").click()
    await page.get_by_role("link", name="Edit").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Description").fill("Mine")
    await desk.api.http.patch(
        f"/api/applications/{desk.api.application_id}",
        content=b'{"description": "theirs"}',
        headers={"Content-Type": "application/merge-patch+json"},
    )
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_contain_text("Somebody else has changed this application")
    await expect(dialog.get_by_label("Description")).to_have_value("Mine")
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.locator(".notice")).to_have_text("Saved successfully")


async def test_a_server_that_is_away_costs_nothing_typed(desk: Desk) -> None:
    """The dialog stays, and says so."""
    page = await desk.logged_in()
    await page.get_by_role("link", name="Add Application").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Application Name").fill("Later")
    await page.context.set_offline(True)
    await dialog.get_by_role("button", name="Create").click()
    await expect(dialog).to_contain_text("The server did not answer")
    await page.context.set_offline(False)
    await dialog.get_by_role("button", name="Create").click()
    await expect(dialog.locator("#client-secret")).to_be_visible()
    desk.complaints = [one for one in desk.complaints if "ERR_INTERNET_DISCONNECTED" not in one]


async def test_it_all_works_without_a_script(desk: Desk) -> None:
    """With pages in the place of dialogs, also on a telephone."""
    page = await desk.logged_in(size=NARROW, scripts=False)
    await page.get_by_role("link", name="Add Application").click()
    await page.get_by_label("Application Name").fill("Plain")
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator("#client-secret")).to_be_visible()
    await expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    await page.get_by_role("link", name="Close").click()
    await page.get_by_label("More Options for Plain").click()
    await page.get_by_role("link", name="Deactivate").click()
    await page.get_by_role("button", name="Yes, do it").click()
    await expect(page.locator(".notice")).to_have_text("Deactivated successfully")
    await page.locator("summary", has_text="Olga").click()
    await page.get_by_role("button", name="Log out", exact=True).click()
    await page.wait_for_url("**/login")
    await log_in(page)


async def test_filters_sorting_and_pages_are_links(desk: Desk) -> None:
    """The browser's own buttons go through them."""
    for name in (f"App {n:02}" for n in range(30)):
        await desk.api.application_of(desk.api.house.owner, name=name)
    page = await desk.logged_in()
    await page.get_by_role("link", name="Next page").click()
    await expect(page.locator("td.name").first).to_have_text("App 25")
    await page.get_by_role("link", name="Previous page").click()
    await expect(page.locator("td.name").first).to_have_text("App 00")
    await page.get_by_role("link", name="Next page").click()
    await expect(page.locator("td.name").first).to_have_text("App 25")
    await page.get_by_role("searchbox", name="Application Name").fill("app 1")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.locator("td.name")).to_have_count(10)
    await page.get_by_role("link", name="Application Name").click()
    await expect(page.locator("td.name").first).to_have_text("App 19")
    await expect(page.locator("th[aria-sort=descending]")).to_have_count(1)
    await page.go_back()
    await expect(page.locator("td.name").first).to_have_text("App 10")


async def first_load(page: Page) -> dict[str, Any]:
    """Load *My User* with an empty cache; return bytes over the wire and layout shift."""
    sizes: list[int] = []
    tasks: list[asyncio.Task[None]] = []

    async def measure(request: Any) -> None:
        found = await request.sizes()
        sizes.append(found["responseBodySize"] + found["responseHeadersSize"])

    page.on("requestfinished", lambda one: tasks.append(asyncio.ensure_future(measure(one))))
    await page.add_init_script(
        "window.shift = 0; new PerformanceObserver(list => list.getEntries().forEach("
        "one => { window.shift += one.value })).observe({type: 'layout-shift', buffered: true})"
    )
    await page.goto("/my-user", wait_until="networkidle")
    await asyncio.gather(*tasks)
    return {"bytes": sum(sizes), "shift": await page.evaluate("window.shift")}


async def test_the_first_page_is_small_and_stands_still(desk: Desk) -> None:
    """Less than 60 KB with a full grid, and nothing moves while it loads."""
    for n in range(30):
        await desk.api.application_of(desk.api.house.owner, name=f"An application {n}")
    page = await desk.logged_in()
    cookies: Any = await page.context.cookies()
    fresh = await desk.page()
    await fresh.context.add_cookies(cookies)

    found = await first_load(fresh)

    assert found["bytes"] < 60_000
    assert found["shift"] == 0
