"""The errors of the token endpoint."""

from services.token import errors
from services.token.errors import OAuthError

# RFC 6749, section 5.2: %x20-21 / %x23-5B / %x5D-7E.
ALLOWED = {chr(code) for code in range(0x20, 0x7F)} - {'"', "\\"}


def test_codes_and_descriptions_hold_only_what_the_rfc_allows() -> None:
    """Some clients put them into headers and pages."""
    kinds = [
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, OAuthError)
    ]

    assert len(kinds) > 8
    for kind in kinds:
        assert set(kind.code + kind.description) <= ALLOWED


def test_what_the_log_learns_is_not_what_the_caller_learns() -> None:
    """The reason stays with us."""
    error = errors.InvalidClient(reason="secret expired")

    assert error.description == "Client authentication failed."
    assert str(error) == "secret expired"
