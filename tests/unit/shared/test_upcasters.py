"""Events that were stored in an older shape are read in today's."""

from typing import Any

import msgspec
import pytest

from shared.envelope import EventDecoder, UndecodableEvent


class Moved(msgspec.Struct, frozen=True):
    """An event as it is today: in its third version."""

    street: str
    number: int
    floor: int = 0


def from_address(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 had both in one."""
    street, number = data.pop("address").rsplit(" ", 1)
    return {**data, "street": street, "number": number}


def with_number(data: dict[str, Any]) -> dict[str, Any]:
    """Version 2 had a text."""
    return {**data, "number": int(data["number"])}


decode = EventDecoder({"Moved": Moved}, {"Moved": (from_address, with_number)})


@pytest.mark.parametrize(
    ("version", "data"),
    [
        (1, '{"address": "High Street 7"}'),
        (2, '{"street": "High Street", "number": "7"}'),
        (3, '{"street": "High Street", "number": 7}'),
    ],
)
def test_every_version_is_read_as_todays(version: int, data: str) -> None:
    """Nothing behind the decoder knows that there ever was another."""
    assert decode("Moved", data, version) == Moved("High Street", 7)


@pytest.mark.parametrize(
    ("version", "data", "words"),
    [
        (4, "{}", "in version 4 is not known to this version; upgrade it"),
        (0, "{}", "in version 0 is not known"),
        (1, '{"street": "High Street"}', "Moved in version 1: KeyError"),
        (1, '{"address": "Nowhere"}', "Moved in version 1: ValueError"),
        (2, '{"street": "x", "number": "High Street"}', "Moved in version 2: ValueError"),
        (1, "[]", "Moved: Expected"),
        (3, '{"street": "High Street"}', "missing required field `number`"),
    ],
)
def test_what_cannot_be_read_is_told_without_its_content(
    version: int, data: str, words: str
) -> None:
    """A damaged event stops its reader with a sentence, and shows nobody's address."""
    with pytest.raises(UndecodableEvent, match=words) as raised:
        decode("Moved", data, version)
    assert "High Street" not in str(raised.value)


def test_a_type_without_upcasters_has_one_version() -> None:
    """As all have that never changed but by fields with a default."""
    plain = EventDecoder({"Moved": Moved}, {})

    assert plain("Moved", '{"street": "x", "number": 1}') == Moved("x", 1)
    with pytest.raises(UndecodableEvent, match="'Left' is not known"):
        plain("Left", "{}")
