"""Callers of the directory's API: an administrator of everything, and one of a single house."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest_asyncio

from services.registry.directory import Organization, User
from tests.integration.registry.api import Api

UNKNOWN = str(uuid.UUID(int=7))


@dataclass
class Administration:
    """A house `Example` with a local administrator, `Above` with a chief, and `Elsewhere`."""

    api: Api
    above: Organization
    elsewhere: Organization
    chief: User
    local: User
    as_chief: dict[str, str]
    as_local: dict[str, str]

    @property
    def home(self) -> Organization:
        """The organization of the local administrator."""
        return self.api.house.organization

    async def call(self, method: str, path: str, **given: Any) -> httpx.Response:
        """Call as the chief, unless headers say otherwise."""
        headers = {**self.as_chief, **given.pop("headers", {})}
        return await self.api.http.request(method, path, headers=headers, **given)

    async def call_locally(self, method: str, path: str, **given: Any) -> httpx.Response:
        """Call as the administrator of one organization."""
        headers = {**self.as_local, **given.pop("headers", {})}
        return await self.api.http.request(method, path, headers=headers, **given)

    async def audit(self) -> list[tuple[str, str]]:
        """Return what was done to whom, oldest first."""
        rows = await self.api.house.pool.fetch(
            "SELECT action, subject_id::text AS subject FROM registry.directory_audit ORDER BY id"
        )
        return [(row["action"], row["subject"]) for row in rows]


@pytest_asyncio.fixture
async def administration(api: Api) -> AsyncIterator[Administration]:
    """A running registry with administrators."""
    directory = api.house.directory
    above = await directory.add_organization("Above", global_access=True)
    elsewhere = await directory.add_organization("Elsewhere")
    chief = await api.user("chief@example.com", organizations=["Above"], administrator=True)
    local = await api.user("local@example.com", administrator=True)
    yield Administration(
        api,
        above,
        elsewhere,
        chief,
        local,
        await api.client_of(chief),
        await api.client_of(local),
    )
