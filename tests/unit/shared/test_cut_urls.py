"""URLs whose password ends the address."""

from urllib.parse import urlsplit

import pytest

from shared.cut_urls import is_cut
from shared.database_words import why_not_connected


@pytest.mark.parametrize("rest", ["/ter@db:5432/app", "?ter@db/app", "#ter@db/app?sslmode=require"])
def test_what_may_be_the_beginning_of_a_password_is_not_said(rest: str) -> None:
    """One that begins with digits looks like a port."""
    said = why_not_connected(OSError(), f"postgresql://app:4711{rest}", "SOME_SETTING")
    assert "an unreadable address" in said
    assert "4711" not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:secret@db:5432/app",
        "postgresql://db:5432/app?user=app@example&sslmode=require",
        "postgresql:///app?host=/run/postgresql",
        "amqp://app:secret@broker/a@b",
    ],
)
def test_what_is_whole_is_said(url: str) -> None:
    """Values of parameters may hold an @, and so may names of virtual hosts."""
    assert not is_cut(urlsplit(url))
