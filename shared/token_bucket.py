"""Token buckets: so many at once, and then as many as flow in.

In memory, for each process by itself. The number of buckets is bounded; the one used longest ago
goes first, and a bucket that is gone counts as full.
"""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

WINDOW_SECONDS = 60.0
MOST_BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Level:
    """How a bucket stands: whole tokens left, and seconds until it is full, or holds one again."""

    granted: bool
    remaining: int
    reset_seconds: int


class TokenBucket:
    """Holds so many tokens, full at first, and takes in so many a second.

    `left` is how many it held when it was filled last.
    """

    __slots__ = ("_at", "_capacity", "_clock", "_per_second", "left")

    def __init__(
        self,
        capacity: float,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self._per_second = per_second
        self._clock = clock
        self.left = capacity
        self._at = clock()

    def fill(self) -> None:
        """Let in what has flown since."""
        now = self._clock()
        flown = max(0.0, now - self._at) * self._per_second
        self.left = min(self._capacity, self.left + flown)
        self._at = now

    def take(self) -> bool:
        """Take a token if there is one."""
        self.fill()
        granted = self.left >= 1
        if granted:
            self.left -= 1
        return granted


class TokenBuckets:
    """A bucket for each key; each holds `quota` tokens and takes a minute to fill."""

    def __init__(
        self,
        quota: int,
        *,
        most: int = MOST_BUCKETS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.quota = quota
        self._per_second = quota / WINDOW_SECONDS
        self._most = most
        self._clock = clock
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def take(self, key: Hashable) -> Level:
        """Take a token if there is one, and tell how the bucket stands."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = self._full()
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        granted = bucket.take()
        return self._level(bucket.left, granted=granted)

    def look(self, key: Hashable) -> Level:
        """Tell how a bucket stands, and whether a token would be granted, without taking it."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._buckets.move_to_end(key)
            bucket.fill()
        left = float(self.quota) if bucket is None else bucket.left
        return self._level(left, granted=left >= 1)

    def is_open(self, key: Hashable) -> bool:
        """Tell whether a token would be granted; faster than `look` where nothing was taken."""
        return key not in self._buckets or self.look(key).granted

    def _full(self) -> TokenBucket:
        return TokenBucket(float(self.quota), self._per_second, clock=self._clock)

    def _level(self, tokens: float, *, granted: bool) -> Level:
        remaining = int(tokens)
        wanted = self.quota if remaining else 1
        seconds = math.ceil((wanted - tokens) / self._per_second)
        return Level(granted, remaining, max(seconds, 0 if remaining else 1))

    def __len__(self) -> int:
        return len(self._buckets)


def network_of(address: str) -> str:
    """Return what stands for an address as a key: of IPv6 its /64, for who has one has all."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    # What a socket for both kinds calls an IPv4 address: they all share one /64.
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))
