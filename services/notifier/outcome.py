"""How an attempt to send ended, and what becomes of the delivery. Pure."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, assert_never

# Beyond it every pause is the longest anyway, and the power would leave the range of a timedelta.
MOST_DOUBLINGS = 24

Ending = Literal["sent", "suppressed", "deferred", "refused", "unknown", "given_up", "expanded"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt. `unknown`: handed over whole, and nobody knows whether taken.

    `given_up`: not attempted, as an attempt before may have sent it. `expanded`: it stood for
    several people, of whom each has a delivery now.
    """

    ending: Ending
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the configuration says about trying again."""

    retry_first: timedelta
    retry_longest: timedelta
    give_up_after: timedelta
    unknown_outcome: Literal["retry", "park"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The delivery's next state; with a pause it is tried again after it.

    `maybe_sent` says that the attempt may have put a mail into the world.
    """

    state: Literal["sent", "suppressed", "parked", "due", "unknown", "expanded"]
    reason: str | None
    pause: timedelta | None = None
    maybe_sent: bool = False


def judge(
    outcome: Outcome, *, attempts: int, waited: timedelta, policy: Policy, chance: float
) -> Verdict:
    """Return what becomes of a delivery that was attempted so often and waited for so long.

    `chance`, between 0 and 1, spreads the pauses.
    """
    ending, reason = outcome.ending, outcome.reason
    given_up = waited > policy.give_up_after
    match ending:
        case "sent" | "suppressed" | "expanded":
            return Verdict(state=ending, reason=reason)
        case "refused" | "given_up":
            return Verdict(state="parked", reason=reason)
        case "deferred" if given_up:
            return Verdict(state="parked", reason=f"given up: {reason}")
        case "deferred":
            pause = pause_after(attempts, policy, chance)
            return Verdict(state="due", reason=reason, pause=pause)
        case "unknown" if given_up or policy.unknown_outcome == "park":
            return Verdict(state="parked", reason=reason, maybe_sent=True)
        case "unknown":
            pause = pause_after(attempts, policy, chance)
            return Verdict(state="unknown", reason=reason, pause=pause, maybe_sent=True)
        case _:
            assert_never(ending)


def pause_after(attempts: int, policy: Policy, chance: float) -> timedelta:
    """Return how long to wait: twice as long each time, between `retry_first` and `retry_longest`.

    Half of it is left to chance: mails that failed together do not come back together.
    """
    full = min(policy.retry_longest, policy.retry_first * (1 << min(attempts, MOST_DOUBLINGS)))
    return min(policy.retry_longest, max(policy.retry_first, full * (0.5 + 0.5 * chance)))
