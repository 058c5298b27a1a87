"""What a command draws, and draws again."""

from services.registry.draws import CLIENT_SECRET, Draws, new_id
from shared.credentials import digest_of, new_client_id, new_client_secret

KEY = bytes(range(32))


def test_what_is_drawn_never_changes() -> None:
    """An upgrade may fall between two tries: the second must find what the first made."""
    draws = Draws(KEY)

    assert draws.command_id == "cff8336d-c981-4865-b7b7-2ad1a0b6f89b"
    assert new_id(draws.random("application")) == "1cdfb706-586a-43e4-8384-5f7812d24b25"
    assert new_id(draws.random("secret")) == "90bee967-8b8a-43f8-a408-a1e1dde5230b"
    assert new_client_id(draws.random("client")) == "4qNmJLDWVDacSRaUchzISxuBHLt0Mrwk"
    secret = new_client_secret(draws.random(CLIENT_SECRET))
    assert digest_of(secret).startswith("8c438b8b9c8a1a65217f6b2ca773c278")


def test_what_is_drawn_is_not_shown() -> None:
    """Contexts are printed in tests and errors."""
    assert "key" not in repr(Draws(KEY))
