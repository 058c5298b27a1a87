"""What a caller and an address are allowed, and in which words they are told."""

import re
from itertools import repeat
from typing import Any

import pytest

from services.registry.rate_limits import REFUSED, CallerLimits, FailedAuthentications
from shared.problem import Problem
from shared.sections import RateLimits


def frozen() -> float:
    """Return the time at which these tests stand still."""
    return 0.0


def limits(**given: Any) -> CallerLimits:
    return CallerLimits(RateLimits(**given), clock=frozen)


def failures(number: int = 2) -> FailedAuthentications:
    return FailedAuthentications(RateLimits(failed_authentications_per_minute=number), clock=frozen)


def test_each_answer_tells_the_policy_and_what_is_left() -> None:
    """Items with parameters, as the draft has them."""
    headers, refusal = limits(reads_per_minute=120).take("client", "reads")

    assert refusal is None
    assert headers == {"RateLimit-Policy": '"reads";q=120;w=60', "RateLimit": '"reads";r=119;t=1'}


def test_too_many_are_refused_with_the_time_to_wait_and_are_counted() -> None:
    """The same time in both headers; they must not contradict each other."""
    one = limits(writes_per_minute=2)
    before = REFUSED.labels("writes")._value.get()

    answers = [one.take("client", "writes") for _ in range(3)]

    assert [refusal is None for _, refusal in answers] == [True, True, False]
    headers, problem = answers[2]
    assert problem is not None
    assert (problem.status, problem.headers["Retry-After"]) == (429, "30")
    assert headers["RateLimit"] == '"writes";r=0;t=30'
    assert REFUSED.labels("writes")._value.get() == before + 1


def test_reads_and_writes_and_clients_are_counted_apart() -> None:
    """A dashboard that reads must not keep a deployment from writing."""
    one = limits(reads_per_minute=1, writes_per_minute=1)
    one.take("client", "reads")

    assert one.take("client", "reads")[1] is not None
    assert one.take("client", "writes")[1] is None
    assert one.take("another", "reads")[1] is None


def test_zero_is_no_limit_and_no_headers() -> None:
    """There is nothing to tell then."""
    one = limits(reads_per_minute=0)

    assert [one.take("client", "reads") for _ in range(3)] == list(repeat(({}, None), 3))


def test_an_address_that_sends_junk_is_not_looked_at_any_more() -> None:
    """A signature check costs more than the request that asks for it."""
    one = failures()
    for _ in range(2):
        one.admit("192.0.2.1", "junk")
        one.failed("192.0.2.1")

    with pytest.raises(Problem) as refused:
        one.admit("192.0.2.1", "junk")

    assert refused.value.status == 429
    assert refused.value.headers["Retry-After"] == "30"
    assert re.match(r'"failed-authentications";q=2', refused.value.headers["RateLimit-Policy"])
    one.admit("192.0.2.2", "junk")


def test_a_caller_whose_token_was_good_is_not_shut_out_by_a_neighbour() -> None:
    """Many share the address of a proxy or of an office."""
    one = failures(1)
    one.succeeded("good")
    one.failed("192.0.2.1")

    one.admit("192.0.2.1", "good")
    with pytest.raises(Problem):
        one.admit("192.0.2.1", "bad")


def test_an_ipv6_network_is_one_sender() -> None:
    """Whoever has an address of a /64 has 2 ** 64 of them."""
    one = failures(1)
    one.failed("2001:db8::1")

    with pytest.raises(Problem):
        one.admit("2001:db8::ffff%eth0", "junk")
    one.admit("2001:db8:0:1::1", "junk")
    one.admit("not:an:address", "junk")


def test_without_a_limit_all_are_looked_at() -> None:
    """Where the proxy in front does it."""
    one = failures(0)
    one.succeeded("good")
    for _ in range(5):
        one.failed("192.0.2.1")
        one.admit("192.0.2.1", "junk")
