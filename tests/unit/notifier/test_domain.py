"""Which event is told to whom."""

import re

import pytest

from services.notifier.domain import RULES, context_of, message_id_of, notifications_for, one_line
from tests.unit.notifier.factories import (
    CLIENT_ID,
    OWNER,
    application_created,
    application_deleted,
)


def test_a_new_application_is_told_to_its_owner() -> None:
    """Whoever can act in my name must not come into being behind my back."""
    (told,) = notifications_for(application_created(name="CI"), RULES)

    assert (told.recipient, told.template) == (OWNER, "application_created")
    assert told.context == {"application_name": "CI", "client_id": CLIENT_ID}


def test_an_event_without_a_rule_is_told_to_nobody() -> None:
    """A mail nobody asked for is noise."""
    assert notifications_for(application_deleted(), RULES) == []


def test_no_identifier_of_a_secret_reaches_a_template() -> None:
    """Templates are edited by people; what they cannot name they cannot leak."""
    created = application_created()
    context = context_of(created)

    assert created.secret.hint not in context.values()
    assert created.secret.id not in context.values()


def test_the_message_id_is_the_same_for_every_attempt() -> None:
    """A mail sent twice after a crash is shown once by mail programs that know its id."""
    first = message_id_of("event", "rule", "user", domain="mail.example")

    assert first == message_id_of("event", "rule", "user", domain="mail.example")
    assert re.fullmatch(r"<[0-9a-f]{40}@mail\.example>", first)


def test_another_event_rule_or_recipient_has_another_message_id() -> None:
    """Two mails with one id would be shown as one."""
    ids = {
        message_id_of(*parts, domain="mail.example")
        for parts in [("e", "r", "u"), ("f", "r", "u"), ("e", "s", "u"), ("e", "r", "v")]
    }

    assert len(ids) == 4


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("CI\r\nBcc: all@example.com", "CI Bcc: all@example.com"),
        ("a\x00b\x1bc", "a b c"),
        ("a\u2028b\u0085c", "a b c"),
        ("  spaced \t out ", "spaced out"),
        ("Привіт 👩‍💻", "Привіт 👩‍💻"),
    ],
)
def test_a_name_is_one_line_whatever_it_holds(text: str, line: str) -> None:
    """A line break in a name could end a header and begin one of the writer's choice."""
    assert one_line(text) == line
