"""What a notifier says and does while something that it needs is not as it should be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.notifier.app import create_app
from shared import database_check
from shared.config import Settings
from shared.service_credential import load_or_create
from tests.support.eventually import eventually
from tests.support.logged import Logged
from tests.support.ports import free_port
from tests.support.readiness import checks


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_check, "WATCH_SECONDS", 0.05)


@asynccontextmanager
async def notifier(var: Path, **given: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run the notifier's application without a registry."""
    values = {
        "var": var,
        "registry": {"internal_url": f"http://127.0.0.1:{free_port()}"},
        "notifier": given,
    }
    app = create_app(Settings.model_validate(values))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://notifier") as http,
    ):
        yield http


async def test_a_secret_file_that_comes_late_is_waited_for(
    database_url: str, tmp_path: Path, logged: Logged
) -> None:
    """Intake and senders begin when it is there; nobody has to restart anything."""
    load_or_create(tmp_path / "service_credential")
    file = tmp_path / "url"
    async with notifier(tmp_path, database={"url_file": file}) as http:
        assert f"secret file {file}: cannot be read" in (await checks(http))["database"]
        assert (await http.get("/livez")).status_code == 200

        file.write_text(database_url)
        await eventually(lambda: logged.count("this process takes events in"))
        await eventually(lambda: logged.count("database can be used again"))
        assert (await checks(http))["database"] == "ok"
    assert logged.count("database cannot be used") == 1
    assert "Traceback" not in logged.text()


@pytest.mark.parametrize("setting", ["password_file", "ca_file"])
async def test_files_for_the_mail_server_are_waited_for(
    database_url: str, tmp_path: Path, logged: Logged, setting: str
) -> None:
    """Mails wait in the database; intake and API need no mail server."""
    load_or_create(tmp_path / "service_credential")
    file = tmp_path / "late"
    smtp = {"tls": "starttls", "username": "u", "password": "p", setting: file}
    if setting == "password_file":
        del smtp["password"]
    async with notifier(tmp_path, database={"url": database_url}, smtp=smtp) as http:
        assert f"{file}: cannot be" in (await checks(http))["smtp"]
        assert (await checks(http))["database"] == "ok"
    assert logged.count("mail has to wait") == 1
