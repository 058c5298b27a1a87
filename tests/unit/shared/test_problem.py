"""Problem details as RFC 9457 has them."""

import json

import pytest

from shared.problem import FieldError, Problem, pointer_to


def test_a_problem_says_title_status_and_detail() -> None:
    """The title is the status in words; the detail is for the person."""
    assert json.loads(Problem(412, "Read it again.").body()) == {
        "type": "about:blank",
        "title": "Precondition Failed",
        "status": 412,
        "detail": "Read it again.",
    }


def test_each_error_leads_to_its_member_or_parameter() -> None:
    """A form can mark the field."""
    errors = [FieldError("Blank.", pointer="#/name"), FieldError("No.", parameter="limit")]

    assert json.loads(Problem(422, "See the errors.", errors=errors).body())["errors"] == [
        {"detail": "Blank.", "pointer": "#/name"},
        {"detail": "No.", "parameter": "limit"},
    ]


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ((), "#"),
        (("name",), "#/name"),
        (("scopes", 0), "#/scopes/0"),
        (("organization", "id"), "#/organization/id"),
        (("a/b~c",), "#/a~1b~0c"),
    ],
)
def test_a_pointer_is_a_json_pointer_in_a_fragment(
    path: tuple[str | int, ...], pointer: str
) -> None:
    """RFC 6901, sections 3 and 6."""
    assert pointer == pointer_to(*path)


@pytest.mark.parametrize(
    ("name", "pointer"),
    [("a b", "#/a%20b"), ("é", "#/%C3%A9"), ('"', "#/%22"), ("100%", "#/100%25")],
)
def test_what_a_fragment_cannot_hold_is_percent_encoded(name: str, pointer: str) -> None:
    """RFC 6901, section 6: members that callers make up are in pointers too."""
    assert pointer == pointer_to(name)
