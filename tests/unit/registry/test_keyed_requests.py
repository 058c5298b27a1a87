"""`Idempotency-Key`: its form, and what derives from it for whom."""

import re
import uuid

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as some

from services.registry.draws import new_id
from services.registry.keyed_requests import (
    PATTERN,
    KeyedRequest,
    fingerprint_of,
    key_of,
)
from shared.credentials import is_well_formed_client_id, is_well_formed_secret
from shared.credentials import new_client_id as client_id_of
from shared.credentials import new_client_secret as secret_of
from shared.problem import Problem

CREDENTIAL = "c" * 43
CALLER = ("client", "owner")
VISIBLE = some.text(some.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


def keyed(
    key: str = "key", *, credential: str = CREDENTIAL, caller: tuple[str, ...] = CALLER
) -> KeyedRequest:
    return KeyedRequest.of(credential, caller, key, fingerprint())


def fingerprint(**given: object) -> bytes:
    request = {
        "method": "POST",
        "path": "/api/applications",
        "query": "",
        "content_type": "application/json",
        "body": b'{"name": "CI"}',
        **given,
    }
    return fingerprint_of(**request)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("5f1c7d0a-3b52-4a5e-9c11-0e6d1b7a2f43", "5f1c7d0a-3b52-4a5e-9c11-0e6d1b7a2f43"),
        ('"5f1c7d0a"', "5f1c7d0a"),
        ('"a,b;c"', "a,b;c"),
        (r'"a\"b\\c"', r'a"b\c'),
        ("Zm9v+/==", "Zm9v+/=="),
        ("x" * 255, "x" * 255),
    ],
)
def test_a_key_is_a_string_or_what_clients_send_instead(value: str, key: str) -> None:
    """The draft wants quotes; most clients were written before."""
    assert key_of([value]) == key


@pytest.mark.parametrize(
    "value",
    ["", '""', '"', "a b", '"a b"', "a,b", "a;b", 'a"b', r'"a\b"', '"a', "é", "x" * 256, "a\n"],
)
def test_what_is_no_key_is_refused_with_the_form(value: str) -> None:
    """A key that is taken for another one would be an answer to another question."""
    with pytest.raises(Problem) as refused:
        key_of([value])

    assert refused.value.status == 400
    assert "1 to 255" in refused.value.detail


def test_two_keys_are_refused_and_none_is_fine() -> None:
    """Which of them would count?"""
    assert key_of([]) is None
    with pytest.raises(Problem):
        key_of(["a", "b"])


@given(VISIBLE)
def test_quoted_any_visible_text_is_itself(text: str) -> None:
    """Escaped as RFC 8941 has it; the published pattern says the same."""
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if len(text) <= 255:
        assert re.search(PATTERN, quoted)
        assert key_of([quoted]) == text


@pytest.mark.parametrize(
    "other",
    [
        {"method": "PUT"},
        {"path": "/api/users"},
        {"query": "a=b"},
        {"content_type": "text/plain"},
        {"body": b'{"name": "CD"}'},
    ],
)
def test_a_request_is_told_from_another(other: dict[str, object]) -> None:
    """By each of what makes it."""
    assert fingerprint() != fingerprint(**other)


def test_a_media_type_is_the_same_however_it_is_written() -> None:
    """Libraries add a charset of their own accord."""
    assert fingerprint() == fingerprint(content_type="Application/JSON; charset=utf-8")


def test_each_of_credential_caller_and_key_makes_another_record() -> None:
    """So nobody comes upon another's answer, whatever key they try."""
    others = [
        keyed("other"),
        keyed(credential="d" * 43),
        keyed(caller=("client", "another")),
        keyed(caller=("another", "owner")),
        # Joined without care these would be the same.
        keyed("r", caller=("clientowne",)),
    ]

    assert len({one.id for one in [keyed(), *others]}) == 6
    assert len({one.fingerprint for one in [keyed(), *others]}) == 6
    salt = b"s" * 16
    sealed = keyed().salted(salt).seal(b"answer")
    assert keyed().salted(salt).open(sealed) == b"answer"
    for one in [*others, keyed()]:
        with pytest.raises(InvalidTag):
            one.salted(b"t" * 16).open(sealed)
    for one in others:
        with pytest.raises(InvalidTag):
            one.salted(salt).open(sealed)


def test_what_is_drawn_is_the_same_each_time_and_another_for_each_purpose_and_salt() -> None:
    """A retry must come to the same command; a key used again after its end to another one."""

    def draws(salt: bytes) -> list[str]:
        derived = keyed().salted(salt)
        return [
            derived.command_id,
            new_id(derived.random("application")),
            new_id(derived.random("secret")),
            client_id_of(derived.random("client")),
            secret_of(derived.random("client secret")),
        ]

    first, again, later = draws(b"s" * 16), draws(b"s" * 16), draws(b"t" * 16)

    assert first == again
    assert not set(first) & set(later)
    assert len(set(first)) == 5
    assert all(uuid.UUID(one).version == 4 for one in first[:3])
    assert is_well_formed_client_id(first[3])
    assert is_well_formed_secret(first[4])


def test_nothing_that_could_open_an_answer_shows() -> None:
    """Not in a traceback either."""
    request = keyed("do not show me")

    assert request._material.hex() not in repr(request)
    assert "_secret" not in repr(request.salted(b"s" * 16))
    assert repr(request._material) not in repr(request)
