"""Client identifiers and secrets: their form, and what is refused before any look-up."""

import re
import string
import zlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from shared import credentials
from shared.credentials import (
    ALPHABET,
    digest_of,
    hint_of,
    is_well_formed_client_id,
    is_well_formed_secret,
    new_client_id,
    new_client_secret,
)


def test_a_secret_has_the_form_that_scanners_look_for() -> None:
    """`oas_`, entropy, checksum; one word for whoever double-clicks it."""
    assert re.fullmatch(r"oas_[A-Za-z0-9]{49}", new_client_secret())


def test_a_secret_holds_at_least_256_bits() -> None:
    """That is what makes a fast digest enough."""
    assert len(set(ALPHABET)) ** credentials.ENTROPY_CHARACTERS >= 2**256
    assert set(ALPHABET) == set(string.ascii_letters + string.digits)


def test_the_checksum_is_crc32_in_base_62() -> None:
    """Others check it too: the form must not change without anybody noticing."""
    body = "oas_" + "a" * 43
    number, text = zlib.crc32(body.encode()), ""
    while number:
        number, digit = divmod(number, 62)
        text = ALPHABET[digit] + text

    assert is_well_formed_secret(body + text.rjust(6, "0"))


def test_what_is_made_is_well_formed_and_never_the_same() -> None:
    """A Client ID is never given out again."""
    secrets = {new_client_secret() for _ in range(200)}
    ids = {new_client_id() for _ in range(200)}

    assert len(secrets) == len(ids) == 200
    assert all(map(is_well_formed_secret, secrets))
    assert all(map(is_well_formed_client_id, ids))


@given(some.integers(0, credentials.SECRET_LENGTH - 1), some.sampled_from(ALPHABET + "_- é\0"))
def test_one_wrong_character_is_noticed(index: int, character: str) -> None:
    """Most junk is a secret with a slip, and costs no look-up."""
    secret = new_client_secret()
    assume(secret[index] != character)

    assert not is_well_formed_secret(secret[:index] + character + secret[index + 1 :])


@pytest.mark.parametrize(
    "change",
    [
        lambda secret: secret[:-1],
        lambda secret: secret + "0",
        lambda secret: secret + "\n",
        lambda secret: " " + secret,
        lambda secret: secret.upper(),
        lambda secret: "oat_" + secret[4:],
        lambda _: "",
        lambda _: "oas_",
        lambda _: "oas_" + "é" * 49,
        lambda _: "oas_" + "\ud800" * 49,
    ],
)
def test_junk_is_no_secret(change: "object") -> None:
    """Whatever is sent, the answer is no and not an exception."""
    assert callable(change)
    assert not is_well_formed_secret(change(new_client_secret()))


@given(some.text(alphabet=some.characters()))
def test_no_text_breaks_the_check(text: str) -> None:
    """It stands at the door, before everything else."""
    assert is_well_formed_secret(text) is False
    assert isinstance(is_well_formed_client_id(text), bool)


@pytest.mark.parametrize("text", ["", "a" * 31, "a" * 33, "a" * 31 + "_", "a" * 31 + "é"])
def test_junk_is_no_client_id(text: str) -> None:
    """32 letters and digits, nothing else."""
    assert not is_well_formed_client_id(text)


def test_each_secret_has_a_digest_of_its_own() -> None:
    """At rest there is nothing but the digest."""
    secret = new_client_secret()

    assert digest_of(secret) == digest_of(secret)
    assert digest_of(new_client_secret()) != digest_of(secret)


def test_the_digest_is_sha256_in_lower_case_hexadecimal() -> None:
    """The column, the events and the projection agree on it."""
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

    assert expected == digest_of("abc")


def test_the_hint_gives_away_nothing_of_the_entropy() -> None:
    """It is the end of the checksum: 4 of 6 characters that follow from the rest."""
    secret = new_client_secret()

    assert hint_of(secret) == secret[-4:]
    assert len(hint_of(secret)) < credentials.CHECKSUM_CHARACTERS
