"""What of a server's words is kept."""

from services.notifier.smtp import without_addresses


def test_addresses_in_a_servers_words_are_not_kept() -> None:
    """Servers repeat the address they refuse; ours are in no log and no table."""
    said = "550 5.1.1 <ada@example.com>:\n user ada@example.com unknown"

    assert without_addresses(said) == "550 5.1.1 <[address]>: user [address] unknown"
