"""How a token request is read."""

import json
import string
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.token.errors import InvalidRequest, OAuthError, UnsupportedMediaType
from services.token.parameters import FORM, JSON, form_decode, parse

# RFC 6749, section 5.2: %x20-21 / %x23-5B / %x5D-7E.
DESCRIPTION = {chr(code) for code in range(0x20, 0x7F)} - {'"', "\\"}


@pytest.mark.parametrize("content_type", [FORM, f"{FORM};charset=UTF-8", FORM.upper()])
def test_a_form_is_read_whatever_the_case_and_parameters_of_its_type(content_type: str) -> None:
    """Media types are case-insensitive and may carry parameters (RFC 9110, section 8.3)."""
    found = parse(content_type, b"grant_type=client_credentials&scope=a+b%20c")

    assert found.single == {"grant_type": "client_credentials", "scope": "a b c"}


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8"])
def test_a_json_object_is_read_as_well(content_type: str) -> None:
    """Clients of the original send it."""
    body = json.dumps({"grant_type": "client_credentials", "scope": "a b", "resource": ["x", "y"]})

    found = parse(content_type, body.encode())

    assert found.single == {"grant_type": "client_credentials", "scope": "a b"}
    assert found.resources == ("x", "y")


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data; boundary=x"])
def test_another_media_type_is_refused(content_type: str) -> None:
    """Guessing what a body means is how parameters get smuggled."""
    with pytest.raises(UnsupportedMediaType):
        parse(content_type, b"grant_type=client_credentials")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b"scope=a&scope=a"),
        (FORM, b"scope=a&scope="),
        (FORM, b"other=1&other=2"),
        (JSON, b'{"scope": "a", "scope": "a"}'),
        (JSON, b'{"other": 1, "other": null}'),
    ],
)
def test_a_repeated_parameter_is_refused(content_type: str, body: bytes) -> None:
    """Two readers of one request must not see two different values (RFC 6749, section 3.2)."""
    with pytest.raises(InvalidRequest):
        parse(content_type, body)


def test_only_resource_may_be_repeated() -> None:
    """RFC 8707, section 2."""
    assert parse(FORM, b"resource=x&resource=y&resource=").resources == ("x", "y")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [(FORM, b"scope=&grant_type"), (JSON, b'{"scope": "", "grant_type": null}'), (FORM, b"")],
)
def test_an_empty_value_counts_as_omitted(content_type: str, body: bytes) -> None:
    """RFC 6749, section 3.2."""
    assert parse(content_type, body).single == {}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b"scope=%ff"),
        (FORM, b"scope=%"),
        (FORM, b"scope=%zz"),
        (FORM, b"scope=%+1"),
        (FORM, b"scope=\xff"),
        (JSON, b""),
        (JSON, b"[]"),
        (JSON, b'"text"'),
        (JSON, b"{"),
        (JSON, b'{"scope": 1}'),
        (JSON, b'{"scope": ["a"]}'),
        (JSON, b'{"resource": [1]}'),
        (JSON, b'{"client_id": {"a": "b"}}'),
        (JSON, b"[" * 5000),
        (JSON, b"\xff"),
    ],
)
def test_what_is_not_form_or_json_in_utf8_is_refused(content_type: str, body: bytes) -> None:
    """Malformed input is the caller's fault, not a fault of ours."""
    with pytest.raises(InvalidRequest):
        parse(content_type, body)


@given(st.text())
def test_form_decoding_undoes_form_encoding(text: str) -> None:
    """Every value of appendix B survives, whatever its characters."""
    encoded = urlencode({"x": text.encode("utf-8", "surrogatepass")})[2:]
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        with pytest.raises(UnicodeDecodeError):
            form_decode(encoded)
    else:
        assert text == form_decode(encoded)


FRAGMENTS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"&", b"=", b"%", b"+", b"grant_type=client_credentials", b"scope=", b"{}"]),
    st.text(string.printable, max_size=20).map(str.encode),
)


@given(
    st.sampled_from([FORM, JSON, "", "text/html"]),
    st.lists(FRAGMENTS, max_size=8).map(b"".join),
)
def test_whatever_comes_is_read_or_refused_in_words_of_our_own(
    content_type: str, body: bytes
) -> None:
    """Nothing but an OAuth error leaves the parser, in the characters the RFC allows."""
    try:
        found = parse(content_type, body)
    except OAuthError as error:
        assert set(error.description) <= DESCRIPTION  # noqa: PT017 - both outcomes are right
    else:
        assert all(found.single.values())


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(["grant_type", "client_id", "scope", "resource", "x"]), JSON_VALUES
    )
)
def test_any_json_object_is_read_or_refused(members: dict[str, object]) -> None:
    """Types that nobody expects are no way to a crash."""
    try:
        found = parse(JSON, json.dumps(members).encode())
    except InvalidRequest:
        return
    assert all(isinstance(value, str) for value in (*found.single.values(), *found.resources))


def test_what_was_sent_is_not_shown() -> None:
    """A traceback that shows its variables must show no secret, nor names that somebody made up."""
    shown = repr(parse(FORM, b"client_secret=oas_x&token=eyJ&scope=a&made_up=b"))

    assert shown == "Parameters(client_secret, scope, token)"
