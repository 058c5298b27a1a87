"""Somebody with a browser, as far as a server sees one: cookies, forms, and no script."""

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from argon2 import PasswordHasher

from services.registry.directory import User
from tests.integration.registry.api import Api

PASSWORD = "correct horse battery"
# As weak as can be: the tests do not wait for strength.
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


@dataclass
class Visitor:
    """One browser. `page` is what it shows."""

    http: httpx.AsyncClient
    page: str = ""
    fields: dict[str, Any] = field(default_factory=dict)

    async def get(self, url: str, status: int = 200, **given: Any) -> httpx.Response:
        """Load a page."""
        answer = await self.http.get(url, **given)
        self._show(answer, status)
        return answer

    async def send(
        self, url: str, status: int = 303, /, headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx.Response:
        """Send a form with what was hidden in the last page, and these fields."""
        hidden = {key: value for key, value in self.fields.items() if key not in fields}
        answer = await self.http.post(url, data={**hidden, **fields}, headers=headers)
        self._show(answer, status)
        return answer

    async def follow(self, answer: httpx.Response) -> httpx.Response:
        """Go where an answer leads."""
        return await self.get(answer.headers["location"])

    async def log_in(self, email: str, password: str = PASSWORD, to: str = "/my-user") -> None:
        """Log in, and be on the first page."""
        await self.get("/login")
        answer = await self.send("/login", email=email, password=password)
        assert answer.headers["location"] == "/my-user"
        await self.get(to)

    async def add(self, name: str, **fields: Any) -> tuple[str, str, str]:
        """Add an application; return its id, Client ID and Client Secret."""
        await self.get("/my-user/applications/new")
        await self.send("/my-user/applications/new", 200, name=name, active="on", **fields)
        client_id, secret = credentials(self.page)
        await self.get("/my-user", params={"name": name})
        (application_id,) = set(re.findall(r'/applications/([0-9a-f-]{36})"', self.page))
        return application_id, client_id, secret

    def names(self) -> list[str]:
        """Return the names in the grid, in their order."""
        return [
            unescape(one)
            for one in re.findall(r'<td[^>]*class="name"><a[^>]*>(.*?)</a>', self.page)
        ]

    def _show(self, answer: httpx.Response, status: int) -> None:
        assert status == answer.status_code, answer.text
        if answer.headers.get("content-type", "").startswith("text/html"):
            self.page = answer.text
            hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', self.page)
            self.fields = {key: unescape(value) for key, value in hidden}


def credentials(page: str) -> tuple[str, str]:
    """Return the Client ID and the Client Secret that a page shows."""
    found = re.findall(r'<code id="client-(?:id|secret)"[^>]*>([^<]+)</code>', page)
    client_id, secret = found
    return client_id, secret


def next_of(answer: httpx.Response) -> str:
    """Return where somebody is led after the login to which an answer sends them."""
    parts = urlsplit(answer.headers["location"])
    assert parts.path == "/login"
    return parse_qs(parts.query)["next"][0]


def visitor_of(api: Api) -> Visitor:
    """Return a browser that knows nobody."""
    transport: Any = api.http._transport
    return Visitor(httpx.AsyncClient(transport=transport, base_url=api.http.base_url))


async def give_password(api: Api, *users: User) -> None:
    """Give users the password of the tests."""
    await api.house.pool.execute(
        "UPDATE registry.users SET password_hash = $1 WHERE id = ANY ($2::uuid[])",
        HASH,
        [one.id for one in users],
    )
