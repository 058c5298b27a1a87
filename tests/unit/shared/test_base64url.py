"""One text for some bytes, and one only."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import base64url


@given(st.binary())
def test_what_is_encoded_is_decoded(content: bytes) -> None:
    """As the library writes it, without padding."""
    text = base64url.encode(content)

    assert text == base64.urlsafe_b64encode(content).rstrip(b"=")
    assert base64url.decode(text) == content


@pytest.mark.parametrize("text", [b"YQ==", b"YR", b"Y Q", b"a+b/", b"A", b"Y\nQ", b"YQ.", b"\xff"])
def test_another_spelling_is_refused(text: bytes) -> None:
    """A token is the same token in one spelling alone."""
    with pytest.raises(ValueError):  # noqa: PT011 - the library's own is one of them
        base64url.decode(text)
