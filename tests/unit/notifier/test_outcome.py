"""What becomes of a delivery after an attempt."""

from datetime import timedelta
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from services.notifier.outcome import Outcome, Policy, Verdict, judge, pause_after

FIRST, LONGEST, GIVE_UP = timedelta(seconds=15), timedelta(hours=4), timedelta(days=3)


def policy(unknown_outcome: Literal["retry", "park"] = "retry") -> Policy:
    return Policy(
        retry_first=FIRST,
        retry_longest=LONGEST,
        give_up_after=GIVE_UP,
        unknown_outcome=unknown_outcome,
    )


def verdict(
    outcome: Outcome,
    *,
    waited: timedelta = timedelta(0),
    unknown_outcome: Literal["retry", "park"] = "retry",
) -> Verdict:
    return judge(outcome, attempts=1, waited=waited, policy=policy(unknown_outcome), chance=0.0)


def test_a_mail_that_was_taken_is_done() -> None:
    """The usual end."""
    assert verdict(Outcome("sent")) == Verdict(state="sent", reason=None)


def test_a_deferred_mail_is_due_again_after_a_pause() -> None:
    """4xx and network errors pass."""
    after = verdict(Outcome("deferred", "451 later"))

    assert after == Verdict(state="due", reason="451 later", pause=FIRST)


def test_a_refused_mail_is_parked_at_once_with_the_reason() -> None:
    """5xx does not pass: somebody has to look, and must see why."""
    after = verdict(Outcome("refused", "550 no"))

    assert after == Verdict(state="parked", reason="550 no")


def test_a_mail_deferred_for_too_long_is_parked() -> None:
    """A mail about last week helps nobody."""
    after = verdict(Outcome("deferred", "451 later"), waited=GIVE_UP + FIRST)

    assert after == Verdict(state="parked", reason="given up: 451 later")


def test_a_mail_with_unknown_outcome_is_tried_again() -> None:
    """At least once: rather twice than never, and the Message-ID tells they are one."""
    after = verdict(Outcome("unknown", "no answer"))

    assert after == Verdict(state="unknown", reason="no answer", pause=FIRST, maybe_sent=True)


def test_a_mail_with_unknown_outcome_is_parked_where_the_policy_says_so() -> None:
    """At most once, for those who prefer it."""
    after = verdict(Outcome("unknown", "no answer"), unknown_outcome="park")

    assert after == Verdict(state="parked", reason="no answer", maybe_sent=True)


@given(attempts=st.integers(min_value=1, max_value=10_000), chance=st.floats(0, 1))
def test_no_pause_is_shorter_than_the_first_or_longer_than_the_longest(
    attempts: int, chance: float
) -> None:
    """Both are promises of the configuration, after ten thousand attempts as well."""
    assert FIRST <= pause_after(attempts, policy(), chance) <= LONGEST


def test_pauses_grow_twofold() -> None:
    """A server in trouble is left alone more and more."""
    pauses = [pause_after(attempts, policy(), 0.0) for attempts in (1, 2, 3)]

    assert pauses == [FIRST, 2 * FIRST, 4 * FIRST]


def test_pauses_differ_by_chance() -> None:
    """Mails that failed together must not come back together."""
    assert pause_after(3, policy(), 1.0) == 2 * pause_after(3, policy(), 0.0)
