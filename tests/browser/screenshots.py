"""The pictures of the README: `python -m tests.browser.screenshots` makes them anew.

A registry on an embedded Postgres, furnished with a few applications, seen by a real browser.
"""

import asyncio
import tempfile
from pathlib import Path

from playwright.async_api import Page

from services.embedded.postgres import EmbeddedPostgres
from services.registry.filters import Filter
from tests.browser.conftest import NARROW, WIDE, Desk, desk_in, log_in, running_browser
from tests.integration.pages.visitor import give_password
from tests.integration.registry.house import house_on

IMAGES = Path(__file__).parents[2] / "docs" / "images"
NAMES = ("Nightly import", "Billing export", "Warehouse sync", "Payroll bridge", "Search crawler")
_USES = """
INSERT INTO registry.usage (application_id, secret_id, day, count, last_used_at)
SELECT a.id, s.id, (now() AT TIME ZONE 'UTC')::date - n,
       40 + abs(hashtext(a.name || n)) % 380, now() - n * interval '1 day' - interval '3 min'
  FROM registry.applications a
  JOIN registry.application_secrets s ON s.application_id = a.id
  CROSS JOIN generate_series(0, 29) AS n
"""
_HOURS = """
INSERT INTO registry.usage_hours (application_id, hour, count)
SELECT id, date_trunc('hour', now()), 412 FROM registry.applications
"""
_LAST_USED = """
UPDATE registry.applications
   SET last_used_at = now() - interval '3 min' * (1 + abs(hashtext(name)) % 200)
"""


def main() -> None:
    """Make all pictures."""
    asyncio.run(_main())


async def _main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as var:
        async with (
            EmbeddedPostgres(Path(var)) as postgres,
            house_on(postgres.dsn) as house,
            running_browser() as browser,
            desk_in(house, Path(var), browser) as desk,
        ):
            await _furnish(desk)
            for size, name in ((WIDE, "wide"), (NARROW, "narrow")):
                for scheme in ("light", "dark"):
                    page = await desk.page(size, scheme=scheme)
                    await _pictures(page, f"{name}-{scheme}")


async def _furnish(desk: Desk) -> None:
    api = desk.api
    await api.house.directory.add_organization("Headquarters", global_access=True)
    ada = await api.user(
        "ada@example.com", organizations=["Example", "Headquarters"], administrator=True
    )
    await give_password(api, ada)
    for name in NAMES:
        await api.application_of(ada, name=name)
    await api.house.pool.execute(
        "UPDATE registry.users SET name = 'Ada Lovelace' WHERE id = $1", ada.id
    )
    await api.house.pool.execute(_USES)
    await api.house.pool.execute(_HOURS)
    await api.house.pool.execute(_LAST_USED)
    rows = await api.house.lists.page(Filter(), limit=50)
    paused = next(one.id for one in rows[0] if one.name == "Payroll bridge")
    _, client_id = await api.application_of(ada, name="Console")
    headers = api.headers(client_id)
    await api.http.post(f"/api/applications/{paused}/deactivate", headers=headers)


async def _pictures(page: Page, name: str) -> None:
    async def take(what: str) -> None:
        await page.evaluate("Promise.all(document.getAnimations().map(one => one.finished))")
        await page.screenshot(path=IMAGES / f"{what}-{name}.png")

    await page.goto("/login")
    await take("login")
    await log_in(page, "ada@example.com")
    await take("my-user")
    await page.get_by_role("link", name="Add Application").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Application Name").fill(f"Reports {name}")
    await take("add-application")
    await dialog.get_by_role("button", name="Create").click()
    await dialog.locator("#client-secret").wait_for()
    await take("credentials")
    await page.goto("/system/oauth-applications")
    await page.get_by_label("More Options for Billing export").click()
    await take("system")
    await page.get_by_role("link", name="Deactivate").first.click()
    await dialog.get_by_role("button", name="Yes, do it").wait_for()
    await take("deactivate")
    await page.goto("/system/oauth-applications")
    await page.get_by_role("link", name="Billing export").click()
    await page.locator(".history").wait_for()
    await take("application")


if __name__ == "__main__":
    main()
