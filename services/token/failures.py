"""How often wrong credentials may be tried, before nobody looks at them any more.

Counted for an address, and for a client from an address: whoever knows a client's id cannot keep
it out from elsewhere, and credentials that were good a moment ago are looked at in any case.
"""

import time
from collections.abc import Callable, Hashable

from services.token.errors import TooManyFailures
from shared.known_good import KnownGood
from shared.sections import FailureLimits
from shared.token_bucket import TokenBuckets, network_of


class Failures:
    """The failures of one process, in bounded memory."""

    def __init__(
        self, limits: FailureLimits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._addresses = _buckets(limits.per_address_and_minute, clock)
        self._clients = _buckets(limits.per_client_and_minute, clock)
        self._known = KnownGood()

    def admit(self, address: str, client_id: str, digest: str) -> None:
        """Return if credentials are to be looked at. Raises TooManyFailures.

        `digest` is the secret's.
        """
        network = network_of(address)
        seconds = max(
            _closed_seconds(self._addresses, network),
            _closed_seconds(self._clients, (network, client_id)),
        )
        if seconds and (client_id, digest) not in self._known:
            raise TooManyFailures(seconds)

    def failed(self, address: str, client_id: str) -> None:
        """Count credentials that were wrong."""
        network = network_of(address)
        if self._addresses is not None:
            self._addresses.take(network)
        if self._clients is not None:
            self._clients.take((network, client_id))

    def succeeded(self, client_id: str, digest: str) -> None:
        """Remember credentials that were right: their client may share the address with others."""
        self._known.add((client_id, digest))


def _buckets(quota: int, clock: Callable[[], float]) -> TokenBuckets | None:
    return TokenBuckets(quota, clock=clock) if quota else None


def _closed_seconds(buckets: TokenBuckets | None, key: Hashable) -> int:
    """Return for how long nothing is taken from a bucket any more, 0 while something is."""
    if buckets is None or buckets.is_open(key):
        return 0
    return buckets.look(key).reset_seconds
