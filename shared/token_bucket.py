"""Token buckets: so many at once, and then as many as flow in.

In memory, for each process by itself. The number of buckets is bounded; the one used longest ago
goes first, and a bucket that is gone counts as full.
"""

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


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


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
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def take(self, key: Hashable) -> Level:
        """Take a token if there is one, and tell how the bucket stands."""
        bucket = self._filled(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(float(self.quota), self._clock())
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        granted = bucket.tokens >= 1
        if granted:
            bucket.tokens -= 1
        return self._level(bucket, granted=granted)

    def look(self, key: Hashable) -> Level:
        """Tell how a bucket stands, and whether a token would be granted, without taking it."""
        bucket = self._filled(key) or _Bucket(float(self.quota), 0.0)
        return self._level(bucket, granted=bucket.tokens >= 1)

    def _filled(self, key: Hashable) -> _Bucket | None:
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._buckets.move_to_end(key)
            now = self._clock()
            flown = max(0.0, now - bucket.at) * self._per_second
            bucket.tokens = min(float(self.quota), bucket.tokens + flown)
            bucket.at = now
        return bucket

    def _level(self, bucket: _Bucket, *, granted: bool) -> Level:
        remaining = int(bucket.tokens)
        wanted = self.quota if remaining else 1
        seconds = math.ceil((wanted - bucket.tokens) / self._per_second)
        return Level(granted, remaining, max(seconds, 0 if remaining else 1))

    def __len__(self) -> int:
        return len(self._buckets)
