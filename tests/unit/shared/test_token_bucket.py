"""Token buckets: what they grant, and that there are never too many of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from shared.token_bucket import WINDOW_SECONDS, TokenBuckets, network_of


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    some.integers(1, 50),
    some.lists(some.floats(0, 30, allow_nan=False), max_size=200),
)
def test_never_more_is_granted_than_burst_and_flow_allow(quota: int, pauses: list[float]) -> None:
    """In any stretch from the beginning; and never less than the burst, if it is asked for."""
    clock = Clock()
    buckets = TokenBuckets(quota, clock=clock)
    granted = 0
    for asked, pause in enumerate(pauses, start=1):
        clock.now += pause
        granted += buckets.take("client").granted
        passed = clock.now - 1000.0
        assert granted <= quota + quota * passed / WINDOW_SECONDS + 1e-6
        assert granted >= min(asked, quota)


@given(some.integers(1, 600), some.integers(0, 700))
def test_a_refused_client_that_waits_as_told_is_served(quota: int, asked: int) -> None:
    """Otherwise Retry-After would send it away twice."""
    clock = Clock()
    buckets = TokenBuckets(quota, clock=clock)
    for _ in range(quota + asked):
        level = buckets.take("client")

    refused = buckets.take("client")
    clock.now += refused.reset_seconds

    assert (refused.granted, refused.remaining) == (False, 0)
    assert 1 <= refused.reset_seconds <= math.ceil(WINDOW_SECONDS / quota)
    assert buckets.take("client").granted
    assert level.remaining == 0


def test_what_is_left_is_whole_and_says_when_it_is_all_there_again() -> None:
    """Clients pace themselves by it."""
    clock = Clock()
    buckets = TokenBuckets(60, clock=clock)

    first, second = buckets.take("client"), buckets.take("client")
    clock.now += 0.5

    assert [(one.remaining, one.reset_seconds) for one in (first, second)] == [(59, 1), (58, 2)]
    assert (buckets.look("client").remaining, buckets.look("another").remaining) == (58, 60)


def test_one_client_takes_nothing_from_another() -> None:
    """Each has a bucket of its own."""
    buckets = TokenBuckets(1, clock=Clock())

    assert [buckets.take(one).granted for one in ("a", "a", "b")] == [True, False, True]


def test_a_clock_that_is_set_back_takes_nothing_away() -> None:
    """A monotonic one should not; a bucket must not depend on it."""
    clock = Clock()
    buckets = TokenBuckets(2, clock=clock)
    buckets.take("client")
    clock.now -= 1000

    assert buckets.take("client").granted


def test_the_number_of_buckets_is_bounded_and_the_oldest_goes_first() -> None:
    """Whoever can invent keys must not fill the memory."""
    buckets = TokenBuckets(1, most=3, clock=Clock())
    for key in ("a", "b", "c"):
        buckets.take(key)
    buckets.take("a")
    buckets.take("d")

    assert len(buckets) == 3
    assert [buckets.look(key).granted for key in ("a", "b", "c", "d")] == [
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("not: an address", "not: an address"),
    ],
)
def test_ipv4_clients_of_a_socket_for_both_kinds_are_told_apart(address: str, network: str) -> None:
    """Written as IPv6 addresses they are all in one /64: one would use up what all may do."""
    assert network_of(address) == network
