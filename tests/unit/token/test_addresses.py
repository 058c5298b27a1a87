"""Noting from where tokens are asked for, in bounded memory."""

from datetime import UTC, datetime

import pytest

from services.token.addresses import MOST_OF_AN_APPLICATION, SeenAddresses

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("192.0.2.1", ["192.0.2.1"]),
        ("2001:db8::1", ["2001:db8::/64"]),
        ("fe80::1%eth0", ["fe80::/64"]),
        ("::ffff:192.0.2.1", ["192.0.2.1"]),
        ("", []),
        ("unknown", []),
        (f"fe80::1%{'x' * 100}", []),
        ("192.0.2.1\nSubject: x", []),
    ],
)
def test_an_address_is_kept_as_what_one_customer_of_a_provider_has(
    address: str, kept: list[str]
) -> None:
    """A host of IPv6 changes the last half of its address every day; and a proxy says anything."""
    seen = SeenAddresses(most=100)
    seen.note("a", address, NOON)

    assert [one.address for one in seen.take(10)] == kept


def test_one_application_cannot_take_the_room_of_others() -> None:
    """It may come from everywhere, as functions in a cloud do; once reported, it may again."""
    seen = SeenAddresses(most=MOST_OF_AN_APPLICATION + 1)
    for _ in range(2):
        for number in range(MOST_OF_AN_APPLICATION + 10):
            seen.note("a", f"192.0.2.{number}", NOON)
        for application in ("b", "c"):
            seen.note(application, "192.0.2.1", NOON)

        taken = [one.application_id for one in seen.take(1000)]
        assert (taken.count("a"), taken.count("b"), taken.count("c")) == (
            MOST_OF_AN_APPLICATION,
            1,
            0,
        )
    assert seen.take(1000) == []


def test_what_is_taken_in_parts_is_all_there() -> None:
    """A report has room for so many."""
    seen = SeenAddresses(most=100)
    for number in range(5):
        seen.note("a", f"192.0.2.{number}", NOON)

    assert [len(seen.take(3)) for _ in range(3)] == [3, 2, 0]
