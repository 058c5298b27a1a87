"""What the client credentials grant gives."""

import pytest

from services.token.errors import InvalidRequest, InvalidScope, InvalidTarget, UnsupportedGrantType
from services.token.grant import check_grant_type, check_resources, granted_scope
from services.token.parameters import Parameters
from tests.unit.token.factories import Application, client_record

CLIENT = client_record(Application(scopes=("b", "a", "c")))


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ({}, "b a c"),
        ({"scope": "a"}, "a"),
        ({"scope": "a b"}, "b a"),
        ({"scope": "a a  b"}, "b a"),
        ({"scope": "c b a"}, "b a c"),
    ],
)
def test_scopes_are_granted_in_the_application_s_order_and_once(
    asked: dict[str, str], granted: str
) -> None:
    """The same grant always looks the same."""
    assert granted == granted_scope(Parameters(asked), CLIENT)


@pytest.mark.parametrize("scope", ["d", "a d", "A", "a,b", " ", "a\tb", "a\x00"])
def test_a_scope_that_the_application_does_not_have_is_refused(scope: str) -> None:
    """All or nothing: a client must not be surprised by less than it asked for."""
    with pytest.raises(InvalidScope):
        granted_scope(Parameters({"scope": scope}), CLIENT)


def test_only_client_credentials_are_granted() -> None:
    """RFC 6749, section 5.2, tells missing from unsupported."""
    check_grant_type(Parameters({"grant_type": "client_credentials"}))
    with pytest.raises(InvalidRequest):
        check_grant_type(Parameters({}))
    for other in ("password", "authorization_code", "refresh_token", "CLIENT_CREDENTIALS"):
        with pytest.raises(UnsupportedGrantType):
            check_grant_type(Parameters({"grant_type": other}))


def test_tokens_are_for_the_configured_audience_only() -> None:
    """RFC 8707: each resource must be one we issue tokens for."""
    audience = "https://api.example"
    check_resources(Parameters({}), audience)
    check_resources(Parameters({}, (audience, audience)), audience)
    for resources in (("https://other.example",), (audience, "https://other.example"), ("x",)):
        with pytest.raises(InvalidTarget):
            check_resources(Parameters({}, resources), audience)
