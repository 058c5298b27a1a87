"""People's passwords."""

import pytest
from argon2 import PasswordHasher

from services.registry.directory import FieldUnusable
from services.registry.passwords import check_hash, hash_password, new_password

GOOD = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse battery")


def test_a_hash_is_argon2id_and_one_of_ours_can_be_taken_elsewhere() -> None:
    """Export and import hand it on."""
    password = new_password()
    made = hash_password(password)

    assert PasswordHasher().verify(made, password)
    assert check_hash(made) == made
    assert check_hash(GOOD) == GOOD


@pytest.mark.parametrize("password", ["", "x" * 11, "x" * 1025, "x" * 12 + "\ud800"])
def test_a_password_that_cannot_be_is_refused(password: str) -> None:
    """Too short to be safe, too long to be hashed for free, or not text."""
    with pytest.raises(FieldUnusable) as refused:
        hash_password(password)
    assert refused.value.path == ("password",)
    assert password == "" or password not in str(refused.value)


@pytest.mark.parametrize(
    "password",
    [
        "password1234",
        "Passw0rd!2024",
        "qwertyuiop123",
        "123456789012",
        "aaaaaaaaaaaaaaaa",
        "letmeinletmein",
        "oauthapps2026",
        "Lovelace2026",
        "ada.lovelace@example.com",
        "Analytical Engines 1",
    ],
)
def test_a_password_that_others_would_try_first_is_refused(password: str) -> None:
    """Common ones, patterns, and what has to do with the user or with us."""
    about = ("ada.lovelace@example.com", "Ada Lovelace", "Analytical Engines")
    with pytest.raises(FieldUnusable, match="guessed soon") as refused:
        hash_password(password, about=about)
    assert refused.value.path == ("password",)


@pytest.mark.parametrize(
    "password",
    ["correct horse battery", "gift lamp seldom", "ünter der Brücke", "mB8#kQ2!rT5?"],
)
def test_a_password_may_be_made_of_anything(password: str) -> None:
    """No rule asks for a digit or a capital."""
    assert hash_password(password).startswith("$argon2id$")


def test_a_long_password_counts_to_its_end() -> None:
    """Nothing is cut off before it is hashed."""
    password = "every word of these counts " * 20

    assert PasswordHasher().verify(hash_password(password), password)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "hunter2",
        GOOD.replace("argon2id", "argon2i"),
        GOOD.replace("v=19", "v=16"),
        GOOD.replace("m=8", "m=9999999"),
        GOOD.replace("t=1", "t=99"),
        GOOD.replace("p=1", "p=0"),
        GOOD + "\n",
        GOOD + "$x",
        GOOD[:-30],
        "$2b$12$abcdefghijklmnopqrstuv",
    ],
    # The hash is another in every run.
    ids=range(11),
)
def test_a_hash_of_another_kind_or_cost_is_refused(given: str) -> None:
    """Whoever logs in pays for it, on our side."""
    with pytest.raises(FieldUnusable) as refused:
        check_hash(given)
    assert refused.value.path == ("password_hash",)
