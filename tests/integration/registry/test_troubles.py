"""What a registry says and does while something that it needs is not as it should be."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.registry.app import create_app
from shared import clock_check, database_check
from shared.config import Settings
from shared.sections import Database, Registry
from shared.service_credential import load_or_create
from tests.integration.registry.house import House
from tests.support.eventually import eventually
from tests.support.logged import Logged
from tests.support.readiness import checks, is_ready


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_check, "WATCH_SECONDS", 0.05)


@asynccontextmanager
async def registry(var: Path, database: Database, **given: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run the registry's application."""
    app = create_app(Settings(var=var, registry=Registry(database=database), **given))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://registry.example") as http,
    ):
        yield http


async def test_a_secret_file_that_comes_late_is_waited_for(
    house: House, tmp_path: Path, logged: Logged
) -> None:
    """An orchestrator mounts it later, or an operator forgot it: no reason to end."""
    load_or_create(tmp_path / "service_credential")
    file = tmp_path / "url"
    async with registry(tmp_path, Database(url_file=file)) as http:
        assert (await http.get("/readyz")).status_code == 503
        assert f"secret file {file}: cannot be read" in (await checks(http))["database"]
        assert (await http.get("/livez")).status_code == 200
        credential = (tmp_path / "service_credential").read_text().strip()
        answer = await http.get(
            "/internal/feed/head", headers={"Authorization": f"Bearer {credential}"}
        )
        assert answer.status_code == 503

        file.write_text(house.dsn)
        await eventually(lambda: is_ready(http))
        await eventually(lambda: logged.count("database can be used again") == 1)

        file.unlink()
        assert await is_ready(http)
        assert f"secret file {file}: cannot be read" in (await checks(http))["secrets"]
    assert logged.count("database cannot be used") == 1
    assert "Traceback" not in logged.text()


async def test_a_service_credential_that_comes_late_is_waited_for(
    house: House, tmp_path: Path, logged: Logged
) -> None:
    """Pages and API need none; other services, and requests with a key, are told to come again."""
    path = tmp_path / "service_credential"
    async with registry(tmp_path, Database(url=SecretStr(house.dsn))) as http:

        async def head(credential: str) -> int:
            headers = {"Authorization": f"Bearer {credential}"}
            return (await http.get("/internal/feed/head", headers=headers)).status_code

        assert await is_ready(http)
        assert f"service credential {path}: no such file" in (await checks(http))["secrets"]
        assert await head("") == 503

        first = load_or_create(path)
        assert await head(first) == 200
        assert (await checks(http))["secrets"] == "ok"

        path.unlink()
        assert await head(first) == 200
        second = load_or_create(path)
        assert (await head(first), await head(second)) == (401, 200)
    assert logged.count("secret not read") == 2
    assert logged.count("secret read again") == 2
    assert first not in logged.text()


async def test_a_database_whose_clock_is_another_is_told(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions and ends of secrets go by both."""
    monkeypatch.setattr(clock_check, "wall", lambda: time.time() - 3600)
    async with registry(tmp_path, Database(url=SecretStr(house.dsn))) as http:
        assert await is_ready(http)
        assert "s behind that of Postgres; let both follow NTP" in (await checks(http))["clock"]

        monkeypatch.setattr(clock_check, "wall", time.time)
        assert await is_ready(http)
        assert (await checks(http))["clock"] == "ok"
