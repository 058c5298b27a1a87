"""Which occurrence is told to whom."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from services.notifier.domain import (
    ActorCondition,
    Rule,
    SecretExpiring,
    applies,
    as_of_today,
    is_moot,
    message_id_of,
    notifications_for,
    one_line,
    people_in,
)
from shared.events import (
    ApplicationCreated,
    ApplicationDeactivated,
    ApplicationDeleted,
    DeactivationReason,
)
from tests.unit.notifier.factories import (
    CLIENT_ID,
    NOON,
    OWNER,
    RULES,
    application_created,
    application_deactivated,
    application_deleted,
    context_for,
    first_use,
    occurrence,
    secret_expiring,
    secret_rotated,
    tokens_revoked,
)

ADMINISTRATOR = "55555555-5555-4555-8555-555555555555"
CREATED = Rule(
    name="created", about=ApplicationCreated, template="application_created", recipients=("owner",)
)


def told(rule: Rule, actor: str = "cli:test") -> list[str]:
    """Return whom a rule tells of a new application."""
    happened = occurrence(application_created(), actor=actor)
    return [one.recipient for one in notifications_for(happened, [rule])]


def test_a_new_application_is_told_to_its_owner() -> None:
    """Whoever can act in my name must not come into being behind my back."""
    (one,) = notifications_for(occurrence(application_created(name="CI")), RULES)

    assert (one.rule, one.recipient) == ("application-created", OWNER)
    assert one.template == "application_created"
    assert (one.context["application_name"], one.context["client_id"]) == ("CI", CLIENT_ID)


def test_an_administrator_who_acts_for_somebody_is_told_beside_them() -> None:
    """Both shall know; and neither twice."""
    rule = replace(CREATED, recipients=("owner", "actor"))

    assert told(rule, f"user:{ADMINISTRATOR}") == [OWNER, ADMINISTRATOR]
    assert told(rule, f"user:{OWNER}") == [OWNER]
    assert told(rule, "service:registry") == [OWNER]


def test_administrators_and_addresses_are_recipients() -> None:
    """Who administers is asked for when the mail is sent: it changes, and the log does not know."""
    created = application_created()
    rule = replace(CREATED, recipients=("administrators", "ops@example.com"), locale="de")
    of_organization, of_address = notifications_for(occurrence(created), [rule])

    assert of_organization.recipient == f"administrators:{created.organization_id}"
    assert of_address.recipient == "mailto:ops@example.com"
    assert of_address.context["locale"] == "de"
    assert "locale" not in of_organization.context


def test_a_rule_that_is_off_tells_nobody() -> None:
    """It stays where it is, to be switched on again."""
    assert told(replace(CREATED, enabled=False)) == []


def test_an_event_without_a_rule_is_told_to_nobody() -> None:
    """A mail nobody asked for is noise."""
    assert notifications_for(occurrence(tokens_revoked()), RULES) == []


@pytest.mark.parametrize(
    ("condition", "actor", "holds"),
    [
        ("any", "cli:test", True),
        ("owner", f"user:{OWNER}", True),
        ("owner", f"user:{ADMINISTRATOR}", False),
        ("not_owner", f"user:{ADMINISTRATOR}", True),
        ("not_owner", "service:registry", True),
        ("not_owner", f"user:{OWNER}", False),
    ],
)
def test_a_rule_can_ask_who_acted(condition: ActorCondition, actor: str, *, holds: bool) -> None:
    """Whoever does something knows of it; whoever does not should be told."""
    rule = replace(CREATED, actor=condition)

    assert applies(rule, occurrence(application_created(), actor=actor)) is holds


@pytest.mark.parametrize("mine", [True, False])
def test_a_rule_can_be_for_some_organizations(*, mine: bool) -> None:
    """Others have other rules."""
    created = application_created()
    organization = created.organization_id if mine else "another"
    rule = replace(CREATED, organizations=frozenset({organization}))

    assert applies(rule, occurrence(created)) is mine


@pytest.mark.parametrize("reason", ["requested", "owner_disabled"])
def test_a_rule_can_ask_for_the_reason(reason: DeactivationReason) -> None:
    """Somebody's dismissal is another matter than a wish of theirs."""
    rule = replace(
        CREATED, about=ApplicationDeactivated, reasons=frozenset[DeactivationReason]({"requested"})
    )

    assert applies(rule, occurrence(application_deactivated(reason))) is (reason == "requested")


@pytest.mark.parametrize("days", [7, 3])
def test_a_warning_goes_by_the_rule_that_asked_for_it(days: int) -> None:
    """Another rule may want to hear sooner."""
    rule = replace(CREATED, about=SecretExpiring, days_before=frozenset({7, 1}))

    assert applies(rule, occurrence(secret_expiring(days_before=days))) is (days == 7)


def test_the_rules_that_we_ship_have_their_own_names_and_all_but_one_are_on() -> None:
    """Deliveries are told apart by the names, also those that were recorded long ago."""
    assert {one.name for one in RULES} == {
        "application-created", "secret-rotated", "secret-expiring", "application-deactivated",
        "application-activated", "application-deleted", "first-use",
    }  # fmt: skip
    assert [one.name for one in RULES if not one.enabled] == ["first-use"]


def test_the_owner_is_told_of_a_new_address_where_that_rule_is_on() -> None:
    """By whoever wants it: where applications move about, it is no news."""
    happened = occurrence(first_use(), actor="")
    (rule,) = (one for one in RULES if one.name == "first-use")

    assert notifications_for(happened, RULES) == []
    (one,) = notifications_for(happened, [replace(rule, enabled=True)])
    assert (one.recipient, one.template) == (OWNER, "first_use")
    assert one.context["address"] == "203.0.113.7"


@pytest.mark.parametrize(
    "fact", [application_created(), secret_rotated(), secret_expiring(), application_deleted()]
)
def test_no_identifier_of_a_secret_reaches_a_template(fact: ApplicationCreated) -> None:
    """Templates are edited by people; what they cannot name they cannot leak."""
    secret = getattr(fact, "secret", None)
    hidden = {getattr(fact, "secret_id", None), None if secret is None else secret.id}

    assert not hidden & set(context_for(fact).values())


def test_a_rotation_without_an_overlap_leaves_no_earlier_secrets() -> None:
    """A moment that has passed is nothing to act upon."""
    rotated = secret_rotated()
    at_once = replace(rotated, others_expire_at=NOON)

    assert context_for(rotated)["others_expire_at"] == (NOON + timedelta(days=1)).isoformat()
    assert context_for(at_once)["others_expire_at"] == ""


def test_an_application_that_is_gone_has_no_page() -> None:
    """A link to it would lead to an error."""
    assert context_for(application_deleted())["application_id"] == ""
    assert isinstance(application_deleted(), ApplicationDeleted)


def test_a_mail_may_name_owner_and_actor() -> None:
    """By their ids: names are asked for when it is sent."""
    context = context_for(application_created(), actor=f"user:{ADMINISTRATOR}")

    assert people_in(context) == {OWNER, ADMINISTRATOR}
    assert people_in(context_for(application_created())) == {OWNER}
    assert people_in({}) == frozenset()


def test_what_the_first_version_recorded_can_be_told() -> None:
    """A mail that waits over an upgrade is about a new application, for its owner."""
    old = {"application_name": "CI", "client_id": CLIENT_ID}
    today = as_of_today(old, recipient=OWNER, time=NOON)

    assert today.keys() == context_for(application_created()).keys()
    assert (today["application_name"], today["owner"], today["active"]) == ("CI", OWNER, "yes")
    assert as_of_today(today, recipient="another", time=NOON) is today


def test_a_warning_comes_to_nothing_at_the_end() -> None:
    """What has happened needs no warning any more; other mails stay true."""
    expiring = secret_expiring()
    context = context_for(expiring)

    assert not is_moot("SecretExpiring", context, NOON)
    assert is_moot("SecretExpiring", context, expiring.expires_at)
    assert not is_moot("ApplicationUpdated", context, expiring.expires_at)
    # Of somebody who was erased while it was being sent.
    assert not is_moot("SecretExpiring", {}, NOON)


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
