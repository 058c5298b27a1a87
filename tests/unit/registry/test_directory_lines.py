"""The directory as JSON lines: what is a line, and what is said of one that is not."""

import io
from dataclasses import replace

import pytest

from services.registry.directory_lines import (
    Line,
    OrganizationLine,
    UserLine,
    lines_of,
    organization_line,
    user_line,
)
from services.registry.json_lines import LINE_LIMIT, Fault
from tests.unit.registry.test_directory_decisions import ADA, HOME


def read(content: bytes) -> tuple[list[Line], list[Fault]]:
    """Return the lines of a file and its faults."""
    faults: list[Fault] = []
    return list(lines_of(io.BytesIO(content), faults.append)), faults


def test_what_is_written_can_be_read() -> None:
    """Export and import are each other's inverse."""
    home = replace(HOME, id="00000000-0000-4000-8000-000000000001")
    ada = replace(ADA, id="00000000-0000-4000-8000-000000000002", organizations=(home,))
    content = organization_line(home) + user_line(ada, "$argon2id$…")

    lines, faults = read(content)

    assert faults == []
    organization, user = (one.entry for one in lines)
    assert isinstance(organization, OrganizationLine)
    assert isinstance(user, UserLine)
    assert (str(organization.id), organization.name) == (home.id, "Home")
    assert (str(user.id), user.email, user.password_hash) == (ada.id, ada.email, "$argon2id$…")
    assert lines[-1].end == len(content)
    assert b"password" not in user_line(ada)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nope", "not a JSON object"),
        (b'{"kind":"user","email":"\xff"}', "not a JSON object"),
        (b'{"kind":"user","email":"a@b.c"', "not a JSON object"),
        (b"[]", "expected `object`, got `array`"),
        (b'{"kind":"user","email":' + b"[" * 9000, "expected `str`, got `array`"),
        (b'{"kind":"ada@example.com"}', "kind must be organization or user"),
        (b'{"email":"a@b.c"}', "object missing required field `kind`"),
        (b'{"kind":"user"}', "object missing required field `email`"),
        (
            b'{"kind":"user","email":"a@b.c","colour":1}',
            "object contains unknown field `colour`",
        ),
        (
            b'{"kind":"user","email":"a@b.c","ada@example.com":1}',
            "object contains an unknown field",
        ),
        (b'{"kind":"user","email":"a@b.c","active":"yes"}', "expected `bool`, got `str`"),
        (b'{"kind":"user","email":"a@b.c","id":"7"}', "invalid UUID"),
        (b'{"kind":"user","email":"' + b"a" * LINE_LIMIT + b'"}', f"longer than {LINE_LIMIT}"),
    ],
)
def test_a_broken_line_is_told_by_its_number_and_the_good_ones_are_kept(
    line: bytes, reason: str
) -> None:
    """Without its content: what stands there may be about a person."""
    good = b'{"kind":"organization","name":"Home"}\n'

    lines, (fault,) = read(good + line + b"\n\r\n" + good)

    assert [one.number for one in lines] == [1, 4]
    assert fault.line == 2
    assert reason in fault.reason
    assert "example.com" not in fault.reason


def test_a_mark_of_the_byte_order_and_a_missing_end_of_line_are_fine() -> None:
    """Editors of other systems leave them."""
    lines, faults = read(b'\xef\xbb\xbf{"kind":"organization","name":"Home"}\r\n')
    again, more = read(b'{"kind":"organization","name":"Home"}')

    assert [one.entry for one in lines] == [one.entry for one in again]
    assert faults == more == []
