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
