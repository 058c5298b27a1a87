"""What the client credentials grant gives."""

from datetime import timedelta

import pytest

from services.token.errors import InvalidRequest, InvalidScope, InvalidTarget, UnsupportedGrantType
from services.token.grant import Target, Targets, check_grant_type, granted_scope
from services.token.parameters import Parameters
from shared.sections import Resource
from tests.unit.token.factories import Application, client_record

ANY = Target(audience="https://api.example")
CLIENT = client_record(Application(scopes=("b", "a", "c")))


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (None, "b a c"),
        ("a", "a"),
        ("a b", "b a"),
        ("a a b", "b a"),
        ("c b a", "b a c"),
    ],
)
def test_scopes_are_granted_in_the_application_s_order_and_once(
    asked: str | None, granted: str
) -> None:
    """The same grant always looks the same."""
    assert granted == granted_scope(asked, CLIENT.scopes, ANY.scopes)


@pytest.mark.parametrize("scope", ["d", "a d", "A", "a,b", " ", "a  b", " a", "a ", "a\tb", "\0"])
def test_a_scope_that_the_application_does_not_have_is_refused(scope: str) -> None:
    """All or nothing: a client must not be surprised by less than it asked for."""
    with pytest.raises(InvalidScope):
        granted_scope(scope, CLIENT.scopes, ANY.scopes)


def test_only_client_credentials_are_granted() -> None:
    """RFC 6749, section 5.2, tells missing from unsupported."""
    check_grant_type(Parameters({"grant_type": "client_credentials"}))
    with pytest.raises(InvalidRequest):
        check_grant_type(Parameters({}))
    for other in ("password", "authorization_code", "refresh_token", "CLIENT_CREDENTIALS"):
        with pytest.raises(UnsupportedGrantType):
            check_grant_type(Parameters({"grant_type": other}))


ORDERS, BILLS = "https://orders.example", "https://bills.example"
TARGETS = Targets(
    "https://api.example",
    {
        ORDERS: Resource(scopes=("a",), lifetime=timedelta(minutes=5)),
        BILLS: Resource(scopes=("a", "b"), lifetime=timedelta(minutes=10)),
    },
)


def test_tokens_are_for_the_usual_audience_or_for_what_is_named() -> None:
    """RFC 8707: each resource must be one we issue tokens for."""
    audience = "https://api.example"
    assert TARGETS.of(Parameters({})) == Target(audience=audience)
    assert TARGETS.of(Parameters({}, (audience, audience))) == Target(audience=audience)
    assert TARGETS.of(Parameters({}, (ORDERS,))).audience == ORDERS
    for resources in (("https://other.example",), (ORDERS, "https://other.example"), ("x",)):
        with pytest.raises(InvalidTarget):
            TARGETS.of(Parameters({}, resources))


def test_a_token_for_several_has_what_each_of_them_would_have() -> None:
    """No scope that one of them does not know, and the shortest lifetime."""
    both = TARGETS.of(Parameters({}, (BILLS, ORDERS)))

    assert both == Target(audience=(BILLS, ORDERS), scopes=frozenset({"a"}), lifetime_seconds=300)


def test_a_resource_narrows_the_scopes() -> None:
    """Those it does not know are left out of the default, and refused when asked for."""
    orders = TARGETS.of(Parameters({}, (ORDERS,)))
    assert granted_scope(None, CLIENT.scopes, orders.scopes) == "a"
    with pytest.raises(InvalidScope):
        granted_scope("a b", CLIENT.scopes, orders.scopes)
    with pytest.raises(InvalidScope):
        granted_scope(None, ("c",), orders.scopes)
