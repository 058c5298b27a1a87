"""What has an end, and when to warn of it."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from services.notifier.domain import Rule, SecretExpiring
from services.notifier.expiry import Expiry, days_asked_for, due_days, evolve, warnings_for
from shared.events import (
    ApplicationActivated,
    ApplicationDeleted,
    ApplicationSecretRevoked,
    ApplicationSecretRotated,
    ApplicationUpdated,
    Event,
    subject_of,
)
from tests.unit.notifier.factories import NOON, RULES, application_created

END = NOON + timedelta(days=90)
LATER = NOON + timedelta(days=180)
CREATED = application_created()
WITH_ENDS = replace(CREATED, secret=replace(CREATED.secret, expires_at=END), expires_at=LATER)
SUBJECT = subject_of(CREATED)
NEWER = replace(CREATED.secret, id="newer")
RULE = Rule(
    name="soon",
    about=SecretExpiring,
    template="secret_expiring",
    recipients=("owner",),
    days_before=frozenset({7, 1}),
)


def after(*events: Event) -> dict[str, datetime]:
    """Return what will expire after these, one hour apart, with the ends."""
    known: tuple[Expiry, ...] = ()
    for hours, event in enumerate(events):
        known = evolve(known, event, NOON + timedelta(hours=hours))
    return {one.id: one.expires_at for one in known}


def rotated(end: datetime | None = None) -> ApplicationSecretRotated:
    return ApplicationSecretRotated(
        **SUBJECT,
        secret=replace(NEWER, expires_at=end),
        others_expire_at=NOON + timedelta(days=1),
    )


def updated(end: datetime | None, *changed: str, name: str = "CI") -> ApplicationUpdated:
    return replace(ApplicationUpdated(**SUBJECT), name=name, changed=changed, expires_at=end)


@pytest.mark.parametrize(
    ("events", "left"),
    [
        ([CREATED], {}),
        ([WITH_ENDS], {CREATED.secret.id: END, CREATED.application_id: LATER}),
        ([WITH_ENDS, rotated()], {CREATED.application_id: LATER}),
        ([WITH_ENDS, rotated(END)], {"newer": END, CREATED.application_id: LATER}),
        ([CREATED, rotated(END), rotated()], {}),
        ([WITH_ENDS, updated(END, "expires_at")], dict.fromkeys(
            [CREATED.secret.id, CREATED.application_id], END)),
        ([WITH_ENDS, updated(None, "expires_at")], {CREATED.secret.id: END}),
        ([WITH_ENDS, updated(None, "name")],
         {CREATED.secret.id: END, CREATED.application_id: LATER}),
        ([CREATED, updated(LATER, "name", "expires_at")], {CREATED.application_id: LATER}),
        ([WITH_ENDS, ApplicationSecretRevoked(**SUBJECT, secret_id=CREATED.secret.id)],
         {CREATED.application_id: LATER}),
        ([WITH_ENDS, ApplicationSecretRevoked(**SUBJECT, secret_id="another")],
         {CREATED.secret.id: END, CREATED.application_id: LATER}),
        ([WITH_ENDS, ApplicationActivated(**SUBJECT)],
         {CREATED.secret.id: END, CREATED.application_id: LATER}),
        ([WITH_ENDS, ApplicationDeleted(**SUBJECT)], {}),
    ],
)  # fmt: skip
def test_what_will_expire_follows_the_log(events: list[Event], left: dict[str, datetime]) -> None:
    """A secret with a successor ends as its owner was told; nobody is warned of that again."""
    assert after(*events) == left


def test_a_warning_has_the_name_of_now() -> None:
    """By the old one nobody would find it."""
    known = evolve(evolve((), WITH_ENDS, NOON), updated(None, "name", name="Renamed"), NOON)

    assert {one.name for one in known} == {"Renamed"}


@pytest.mark.parametrize(
    ("before_end", "told", "due"),
    [
        (timedelta(days=8), None, []),
        (timedelta(days=7), None, [7]),
        (timedelta(days=5), 7, []),
        (timedelta(hours=23), 7, [1]),
        (timedelta(hours=23), None, [7, 1]),
        (timedelta(hours=23), 1, []),
        (timedelta(0), None, []),
        (-timedelta(days=1), None, []),
    ],
)
def test_a_moment_comes_once(before_end: timedelta, told: int | None, due: list[int]) -> None:
    """And never after the end."""
    (_, secret) = evolve((), WITH_ENDS, NOON)
    one = replace(secret, told_days=told)

    assert due_days(one, [7, 1], END - before_end) == due


def test_a_moment_that_had_passed_when_the_end_was_set_is_none() -> None:
    """Whoever asks for a secret of five days knows that it ends within seven."""
    short = replace(CREATED.secret, expires_at=NOON + timedelta(days=5))
    (one,) = evolve((), replace(CREATED, secret=short), NOON)

    assert due_days(one, [7, 1], NOON) == []
    assert due_days(one, [7, 1], NOON + timedelta(days=4, hours=1)) == [1]


def test_after_a_pause_a_rule_hears_of_the_last_moment_alone() -> None:
    """Two mails at once that say the same are one too many."""
    (_, secret) = evolve((), WITH_ENDS, NOON)
    sooner = replace(RULE, name="sooner", days_before=frozenset({30, 7}))
    off = replace(RULE, name="off", enabled=False)
    now = END - timedelta(hours=1)

    found = warnings_for(secret, [RULE, sooner, off, *RULES[:1]], now)

    assert [(one.id, rule.name) for one, rule in found] == [
        (f"{CREATED.secret.id}:1d", "soon"),
        (f"{CREATED.secret.id}:7d", "sooner"),
    ]
    assert found[0][0].time == END - timedelta(days=1)


def test_an_application_is_warned_of_again_for_another_end() -> None:
    """A warning that was sent for the first end says nothing of the second."""
    (application, _) = evolve((), WITH_ENDS, NOON)
    moved = replace(application, expires_at=LATER + timedelta(days=30))
    (first,) = warnings_for(application, [RULE], LATER - timedelta(days=6))
    (second,) = warnings_for(moved, [RULE], LATER + timedelta(days=24))

    assert first[0].id != second[0].id
    assert first[0].fact != second[0].fact


def test_days_are_those_of_rules_that_are_on() -> None:
    """Nobody looks for what nobody wants to hear."""
    off = replace(RULE, enabled=False, days_before=frozenset({30}))

    assert days_asked_for([RULE, off, *RULES]) == [7, 1]
    assert days_asked_for([off]) == []
