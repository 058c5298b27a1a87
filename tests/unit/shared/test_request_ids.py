"""The id of a request."""

from collections.abc import Iterator

import pytest

from shared import request_ids
from shared.credentials import new_client_secret
from shared.request_ids import HEADER


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """The next test is about something else."""
    yield
    request_ids.end()


@pytest.mark.parametrize("given", [b"7", b"req-7f3a", b"01JDX.a_b", b"x" * 64])
def test_a_caller_may_choose_it(given: bytes) -> None:
    """Whoever is in front of us has one already."""
    assert given == request_ids.begin([(b"host", b"x"), (HEADER, given)])
    assert given.decode() == request_ids.current()


@pytest.mark.parametrize(
    "given",
    [
        [],
        [b""],
        [b"x" * 65],
        [b"two words"],
        [b"a\nb"],
        [b"bob@example.com"],
        [b"-x"],
        [b"\xc3\xa4"],
        [b"a", b"b"],
        [new_client_secret().encode()],
        [b"x-" + new_client_secret().encode()[:50]],
    ],
)
def test_else_it_is_one_of_ours(given: list[bytes]) -> None:
    """It is kept with the events that follow: nothing that does not belong there."""
    headers = [(HEADER, one) for one in given]
    first, second = request_ids.begin(headers), request_ids.begin(headers)

    assert first != second
    assert first not in given
    # Ours are of the same form, so that the next service takes them.
    assert second == request_ids.begin([(HEADER, second)])
