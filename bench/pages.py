"""The grid among a million applications: how long the server takes, and how much it sends.

`python -m bench.pages [--applications N] [--rounds N]`. A registry and a token service as
processes; an administrator over everything looks at *System > OAuth Applications* and at *My User*,
filtered, sorted, and the next page. What is measured is the answer over loopback, and beside it the
registry's `/livez`, which does nothing: the difference is the page.
"""

import argparse
import asyncio
import re
import tempfile
import time
from html import unescape
from pathlib import Path

import httpx
import uvloop

from bench.crowd import APPLICATIONS, furnish
from bench.house import House, free_port, make_credentials, quantile, served
from services.embedded.postgres import EmbeddedPostgres
from services.registry.pages.sessions import Sessions
from shared.config import Settings
from shared.postgres import connect, create_pool

PATHS = (
    "/my-user",
    "/system/oauth-applications",
    "/system/oauth-applications?name=nightly",
    "/system/oauth-applications?name=payroll+bridge&status=active",
    "/system/oauth-applications?sort=-last_used",
    "/system/oauth-applications?sort=organization&status=inactive",
    "/system/oauth-applications?owner=user77%40example.com",
)
_NEXT = re.compile(r'<a href="([^"]+)" rel="next"')
_FILES = re.compile(r'"(/static/[^"]+)"')


def main() -> None:
    """Measure and print the distribution."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--applications", type=int, default=APPLICATIONS)
    parser.add_argument("--rounds", type=int, default=30, help="how often each page is loaded")
    options = parser.parse_args()
    uvloop.run(_main(options.applications, options.rounds))


async def _main(count: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="oauthapps-bench-") as folder:
        var = Path(folder)
        async with EmbeddedPostgres(var) as postgres:
            await furnish(postgres.dsn, count)
            make_credentials(Settings(var=var))
            token, user_id = await _session(postgres.dsn)
            where = House(var, postgres.dsn, "", user_id)
            port, token_port = free_port(), free_port()
            ports = {"TOKEN__PORT": str(token_port), "REGISTRY__PORT": str(port)}
            async with (
                served(where, "token", token_port, **ports),
                served(where, "registry", port, **ports) as url,
                httpx.AsyncClient(base_url=url, cookies={"session": token}) as http,
            ):
                pages, idle, first = await _measure(http, rounds)
    print(
        f"pages: {len(pages)} grids of {count:,} applications: p50 {quantile(pages, 0.5):.1f} ms, "
        f"p95 {quantile(pages, 0.95):.1f} ms, slowest {pages[-1]:.1f} ms; "
        f"/livez p95 {quantile(idle, 0.95):.1f} ms; first load {first / 1000:.1f} KB",
        flush=True,
    )


async def _session(dsn: str) -> tuple[str, str]:
    """Make one of the users an administrator over everything, and log them in."""
    connection = await connect(dsn, command_seconds=60)
    try:
        user_id = str(await connection.fetchval(_ADMINISTRATOR))
    finally:
        await connection.close()
    async with await create_pool(dsn, size=1) as pool:
        settings = Settings().registry.sessions
        sessions = Sessions(pool, idle=settings.idle, longest=settings.longest)
        return await sessions.begin(user_id), user_id


async def _measure(http: httpx.AsyncClient, rounds: int) -> tuple[list[float], list[float], int]:
    """Return milliseconds of the pages and of `/livez` in order, and bytes of a first load."""
    page = await http.get(PATHS[1])
    page.raise_for_status()
    files = [await http.get(one) for one in sorted(set(_FILES.findall(page.text)))]
    first = sum(one.num_bytes_downloaded for one in (page, *files))
    pages: list[float] = []
    idle: list[float] = []
    for turn in range(rounds + 1):
        for path in PATHS:
            taken, answer = await _load(http, path)
            found = _NEXT.search(answer.text)
            more = [await _load(http, unescape(found[1]))] if found else []
            nothing, _ = await _load(http, "/livez")
            if turn:  # the first finds a cold cache
                pages += [taken, *(one for one, _ in more)]
                idle.append(nothing)
        await asyncio.sleep(0)
    return sorted(pages), sorted(idle), first


async def _load(http: httpx.AsyncClient, path: str) -> tuple[float, httpx.Response]:
    begun = time.perf_counter()
    answer = await http.get(path)
    milliseconds = (time.perf_counter() - begun) * 1000
    answer.raise_for_status()
    return milliseconds, answer


_ADMINISTRATOR = """
WITH organization AS (
    UPDATE registry.organizations SET global_access = true
     WHERE name = 'Organization 1' RETURNING id
), administrator AS (
    UPDATE registry.users SET administrator = true
     WHERE email = 'user1@example.com' RETURNING id
), membership AS (
    INSERT INTO registry.memberships (user_id, organization_id)
    SELECT a.id, o.id FROM administrator a, organization o
)
SELECT id FROM administrator
"""

if __name__ == "__main__":
    main()
