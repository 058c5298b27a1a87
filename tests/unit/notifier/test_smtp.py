"""What of a server's words is kept."""

from services.notifier.smtp import presentable


def test_addresses_in_a_servers_words_are_not_kept() -> None:
    """Servers repeat the address they refuse; ours are in no log and no table."""
    said = "550 5.1.1 <ada@example.com>:\n user ada@example.com unknown"

    assert presentable(said) == "550 5.1.1 <[address]>: user [address] unknown"


def test_of_many_words_the_first_are_kept() -> None:
    """Half an address at the end would be one all the same."""
    told = presentable("550 no " * 284 + "somebody.long@example.com and more")

    assert told.startswith("550 no 550")
    assert told.endswith("550 no …")
    assert "somebody" not in told
