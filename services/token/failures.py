"""How often wrong credentials may be tried, before nobody looks at them any more.

Counted for an address, and for a client from an address: whoever knows a client's id cannot keep
it out from elsewhere, and credentials that were good a moment ago are looked at in any case.
"""

import time
from collections.abc import Callable

from services.token.errors import TooManyFailures
from shared.config import FailureLimits
from shared.known_good import KnownGood
from shared.token_bucket import TokenBuckets, network_of


class Failures:
    """The failures of one process, in bounded memory."""

    def __init__(
        self, limits: FailureLimits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._addresses = _buckets(limits.per_address_and_minute, clock)
        self._clients = _buckets(limits.per_client_and_minute, clock)
        self._known = KnownGood()

    def admit(self, address: str, client_id: str, secret: str) -> None:
        """Return if credentials are to be looked at. Raises TooManyFailures."""
        network = network_of(address)
        closed = [
            buckets.look(key)
            for buckets, key in ((self._addresses, network), (self._clients, (network, client_id)))
            if buckets is not None and not buckets.is_open(key)
        ]
        if closed and _credential(client_id, secret) not in self._known:
            raise TooManyFailures(max(one.reset_seconds for one in closed))

    def failed(self, address: str, client_id: str) -> None:
        """Count credentials that were wrong."""
        network = network_of(address)
        if self._addresses is not None:
            self._addresses.take(network)
        if self._clients is not None:
            self._clients.take((network, client_id))

    def succeeded(self, client_id: str, secret: str) -> None:
        """Remember credentials that were right: their client may share the address with others."""
        self._known.add(_credential(client_id, secret))


def _buckets(quota: int, clock: Callable[[], float]) -> TokenBuckets | None:
    return TokenBuckets(quota, clock=clock) if quota else None


def _credential(client_id: str, secret: str) -> str:
    # No Client ID has a space in it.
    return f"{client_id} {secret}"
