"""The service as an operator sees it from outside, and as it is when it is killed."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from services.notifier.app import create_app
from services.notifier.deliveries import Deliveries
from shared.config import Settings
from shared.service_credential import load_or_create
from tests.integration.notifier.house import Directory, record_one, sending, settings, state
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.postgres import Databases
from tests.support.smtp_server import SmtpServer

LONE_SENDER = """
import asyncio, sys
from services.notifier.deliveries import Deliveries
from shared.postgres import create_pool
from shared.sections import Notifier
from tests.integration.notifier.house import Directory, sending

async def main():
    pool = await create_pool(sys.argv[1], size=4)
    smtp = {"port": int(sys.argv[2])}
    values = Notifier.model_validate({"lease": "1s", "smtp": smtp})
    async with sending(Deliveries(pool), Directory(), values):
        await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def served(var: Path, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run the notifier's application without a registry."""
    load_or_create(var / "service_credential")
    values = Settings.model_validate(
        {
            "var": var,
            "registry": {"internal_url": f"http://127.0.0.1:{free_port()}"},
            "notifier": {"database": {"url": database_url}},
        }
    )
    app = create_app(values)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://notifier") as client,
    ):
        yield client


async def checks(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/readyz")
    report: dict[str, Any] = answer.json()
    assert report["ready"] is (answer.status_code == 200)
    found: dict[str, Any] = report["checks"]
    return found


async def test_a_database_that_is_away_is_told_and_not_fatal(tmp_path: Path) -> None:
    """The service starts before its database does, and says what it waits for."""
    async with served(tmp_path, f"postgresql://x@127.0.0.1:{free_port()}/x") as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        assert "does not answer" in (await checks(client))["database"]


async def test_a_schema_that_is_missing_is_told_with_the_remedy(
    tmp_path: Path, databases: Databases
) -> None:
    """The operator reads what to run."""
    async with databases.empty() as url, served(tmp_path, url) as client:
        assert "oauthapps migrate" in (await checks(client))["database"]


async def test_mail_trouble_is_told_beside_the_checks(tmp_path: Path, database_url: str) -> None:
    """Mails wait in the database meanwhile: no reason to be unready."""
    async with served(tmp_path, database_url) as client:
        assert (await checks(client))["smtp"] == "ok"
        assert "oauthapps_notifier_attempts_total" in (await client.get("/metrics")).text


async def test_a_sender_killed_between_dot_and_answer_is_inherited(
    database_url: str, deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """The worst moment for a kill -9: one mail more, never one less, and both under one id."""
    mail_server.hold()
    await record_one(deliveries)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LONE_SENDER, database_url, str(mail_server.port),
        env={**os.environ, "PYTHONPATH": os.getcwd()},  # noqa: PTH109 - the tests' root
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await eventually(lambda: mail_server.taken, 30)
    finally:
        process.kill()
        await process.wait()
    mail_server.release()
    assert await state(deliveries) == "sending"
    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: _sent(deliveries))

    ids = [mail.message["Message-ID"] for mail in mail_server.taken]
    assert len(ids) == 2
    assert len(set(ids)) == 1


async def _sent(deliveries: Deliveries) -> bool:
    return await state(deliveries) == "sent"
