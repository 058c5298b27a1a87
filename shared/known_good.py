"""Credentials that were good a moment ago: looked at whatever else comes from the same address."""

from collections import OrderedDict
from collections.abc import Hashable

MOST = 10_000


class KnownGood:
    """The last so many credentials that were good, by their digests; the oldest goes first."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._digests: OrderedDict[Hashable, None] = OrderedDict()

    def add(self, digest: Hashable) -> None:
        """Remember a credential."""
        self._digests[digest] = None
        self._digests.move_to_end(digest)
        if len(self._digests) > self._most:
            self._digests.popitem(last=False)

    def __contains__(self, digest: Hashable) -> bool:
        return digest in self._digests

    def __len__(self) -> int:
        return len(self._digests)
