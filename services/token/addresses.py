"""From which addresses applications obtain tokens, noted in memory until they are reported.

Of an IPv4 address as it is, of an IPv6 address its /64. Never in logs or metrics.
"""

import ipaddress
from datetime import datetime
from functools import lru_cache
from itertools import islice

from shared.token_bucket import network_of
from shared.usage import AddressSeen

# An application that comes from more of them between two reports comes from everywhere.
MOST_OF_AN_APPLICATION = 50
# Of IPv6, with a zone; what is longer is nothing to remember.
LONGEST = 64


class SeenAddresses:
    """What was seen and is not reported yet."""

    def __init__(self, *, most: int) -> None:
        """Hold at most so many pairs of application and address."""
        self._most = most
        self._seen: dict[tuple[str, str], tuple[datetime, datetime]] = {}
        self._of_application: dict[str, int] = {}

    def note(self, application_id: str, address: str, now: datetime) -> None:
        """Note that an application obtained a token from an address; `now` is in UTC."""
        network = _network(address) if len(address) <= LONGEST else None
        if network is None:
            return
        pair = (application_id, network)
        known = self._seen.get(pair)
        if known is not None:
            self._seen[pair] = (known[0], max(known[1], now))
            return
        count = self._of_application.get(application_id, 0)
        if count < MOST_OF_AN_APPLICATION and len(self._seen) < self._most:
            self._seen[pair] = (now, now)
            self._of_application[application_id] = count + 1

    def take(self, limit: int) -> list[AddressSeen]:
        """Return what was seen, so much at most, and forget it."""
        taken = []
        for pair in list(islice(self._seen, limit)):
            application_id, network = pair
            first, last = self._seen.pop(pair)
            left = self._of_application[application_id] - 1
            if left:
                self._of_application[application_id] = left
            else:
                del self._of_application[application_id]
            taken.append(
                AddressSeen(
                    application_id=application_id,
                    address=network,
                    first_seen_at=first,
                    last_seen_at=last,
                )
            )
        return taken


# The same few come again and again, and to read one of IPv6 takes long.
@lru_cache(1024)
def _network(address: str) -> str | None:
    """Return what an address is kept as; None for what is none.

    A Unix socket has none, and a proxy may pass on whatever it was told.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return network_of(str(parsed))
