"""How much a caller may ask for: token buckets for reads, for writes and for failed authentication.

draft-ietf-httpapi-ratelimit-headers for the headers. Each process counts by itself.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Literal

from prometheus_client import Counter

from shared.known_good import KnownGood
from shared.problem import Problem
from shared.sections import RateLimits
from shared.token_bucket import WINDOW_SECONDS, Level, TokenBuckets, network_of

Policy = Literal["reads", "writes", "failed-authentications"]
REFUSED = Counter(
    "oauthapps_registry_rate_limited_total", "Requests refused by a rate limit", ["policy"]
)
_WINDOW = int(WINDOW_SECONDS)


class CallerLimits:
    """What a client may read and write in a minute."""

    def __init__(self, limits: RateLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        quotas: dict[Policy, int] = {
            "reads": limits.reads_per_minute,
            "writes": limits.writes_per_minute,
        }
        self._buckets = {
            policy: TokenBuckets(quota, clock=clock) for policy, quota in quotas.items() if quota
        }

    def take(self, client_id: str, policy: Policy) -> tuple[dict[str, str], Problem | None]:
        """Count a request; return the headers of its answer, and the refusal if it is too many."""
        buckets = self._buckets.get(policy)
        if buckets is None:
            return {}, None
        level = buckets.take(client_id)
        headers = _headers(policy, buckets.quota, level)
        return headers, None if level.granted else _refusal(policy, level, {})


class FailedAuthentications:
    """How often an address may present what is no good token, before nobody looks at it any more.

    An IPv6 address counts as its /64: whoever has one has all of them.
    """

    def __init__(self, limits: RateLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        quota = limits.failed_authentications_per_minute
        self._buckets = TokenBuckets(quota, clock=clock) if quota else None
        self._known = KnownGood()

    def admit(self, address: str, token: str) -> None:
        """Return if the token is to be looked at. Raises Problem 429."""
        if self._buckets is None:
            return
        level = self._buckets.look(network_of(address))
        if not level.granted and _digest(token) not in self._known:
            policy: Policy = "failed-authentications"
            raise _refusal(policy, level, _headers(policy, self._buckets.quota, level))

    def failed(self, address: str) -> None:
        """Count a token that was no good."""
        if self._buckets is not None:
            self._buckets.take(network_of(address))

    def succeeded(self, token: str) -> None:
        """Remember a token that was good: its caller may share the address with others."""
        if self._buckets is None:
            return
        self._known.add(_digest(token))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _headers(policy: Policy, quota: int, level: Level) -> dict[str, str]:
    return {
        "RateLimit-Policy": f'"{policy}";q={quota};w={_WINDOW}',
        "RateLimit": f'"{policy}";r={level.remaining};t={level.reset_seconds}',
    }


def _refusal(policy: Policy, level: Level, headers: dict[str, str]) -> Problem:
    REFUSED.labels(policy).inc()
    whose = (
        "Too many tokens that are no good came from this address"
        if policy == "failed-authentications"
        else f"These are too many {policy} for one client"
    )
    return Problem(
        429,
        f"{whose}. Send it again when Retry-After has passed; RateLimit says how much is left.",
        headers={**headers, "Retry-After": str(level.reset_seconds)},
    )
