"""`/preview`, as whoever writes templates sees it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.integration.notifier.test_app import served
from tests.support.ports import free_port


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A notifier whose database is away: previews need none."""
    written = tmp_path / "templates/en/mine"
    written.mkdir(parents=True)
    for part in ("subject.txt", "body.txt", "body.html"):
        (written / part).write_text("{{ application_name }} expires {{ expires_at | date }}")
    async with served(tmp_path, f"postgresql://x@127.0.0.1:{free_port()}/x") as client:
        yield client


async def test_a_mail_is_shown_as_it_would_be(client: httpx.AsyncClient) -> None:
    """In HTML, in the language asked for."""
    answer = await client.get("/preview/application_created?locale=de")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-language"] == "de"
    assert "Guten Tag <bdi>Ada Lovelace</bdi>," in answer.text


@pytest.mark.parametrize(
    ("part", "begins"), [("subject", "New client secret: Build"), ("text", "Hello Ada Lovelace,\n")]
)
async def test_the_other_parts_are_shown_as_text(
    client: httpx.AsyncClient, part: str, begins: str
) -> None:
    """A browser must not take them for HTML."""
    answer = await client.get(f"/preview/secret_rotated?part={part}")

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith(begins)


async def test_what_is_shown_can_do_nothing(client: httpx.AsyncClient) -> None:
    """No script, nothing from elsewhere, in no frame, in no index."""
    for path in ("/preview", "/preview/application_created", "/preview/mine?part=text"):
        headers = (await client.get(path)).headers

        assert headers["content-security-policy"].startswith("default-src 'none';")
        assert "script-src" not in headers["content-security-policy"]
        assert headers["x-robots-tag"] == "noindex"
        assert headers["x-content-type-options"] == "nosniff"


async def test_a_language_that_nobody_translated_to_is_what_its_readers_get(
    client: httpx.AsyncClient,
) -> None:
    """The nearest that there is."""
    assert (await client.get("/preview/mine?locale=ja")).headers["content-language"] == "en"
    assert (await client.get("/preview/mine?locale=fr-CA")).headers["content-language"] == "en"
    answer = await client.get("/preview/application_deleted?locale=fr-CA")
    assert answer.headers["content-language"] == "fr"


async def test_a_template_without_a_rule_is_shown_with_all_there_is(
    client: httpx.AsyncClient,
) -> None:
    """Its writer begins with the words, and makes the rule afterwards."""
    answer = await client.get("/preview/mine?part=text")

    assert answer.text == "Build server expires March 16, 2026"


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/preview/none", 404, "application_created"),
        ("/preview/_base", 404, "application_created"),
        ("/preview/..%2F_base", 404, ""),
        ("/preview/application_created?locale=klingon", 400, "fr_CA"),
        ("/preview/application_created?locale=../en", 400, "fr_CA"),
        ("/preview/application_created?locale=", 400, "fr_CA"),
        ("/preview/application_created?part=head", 400, "subject, text, html"),
    ],
)
async def test_what_there_is_not_is_a_problem(
    client: httpx.AsyncClient, path: str, status: int, says: str
) -> None:
    """With what there is."""
    answer = await client.get(path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]


async def test_the_list_names_templates_and_locales(client: httpx.AsyncClient) -> None:
    """As JSON for programs, and as a page with links for people."""
    listed = (await client.get("/preview")).json()
    page = (await client.get("/preview", headers={"Accept": "text/html,*/*"})).text

    assert "mine" in listed["templates"]
    assert listed["locales"] == ["de", "en", "fr", "uk"]
    assert '<a href="/preview/mine?locale=uk">' in page
