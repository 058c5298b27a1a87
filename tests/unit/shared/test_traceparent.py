"""`traceparent`, as it comes from anybody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.traceparent import Place, place_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("flags", "sampled"), [("01", True), ("00", False), ("03", True), ("02", False)]
)
def test_a_place_is_read(flags: str, sampled: bool) -> None:  # noqa: FBT001 - a parameter of cases
    """Of the flags one has a meaning to us."""
    expected = Place(int(TRACE, 16), int(SPAN, 16), sampled)

    assert expected == place_of(f"00-{TRACE}-{SPAN}-{flags}")


def test_a_later_version_may_say_more() -> None:
    """What this one knows stands where it always does (section 3.2.4)."""
    assert place_of(f"01-{TRACE}-{SPAN}-01-more") == place_of(f"00-{TRACE}-{SPAN}-01")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
    ],
)
def test_what_is_malformed_names_no_place(text: str | None) -> None:
    """The request begins a trace of its own then."""
    assert place_of(text) is None


@given(st.builds(Place, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans()))
def test_what_is_told_is_read_again(place: Place) -> None:
    """By whichever service."""
    assert place == place_of(str(place))
