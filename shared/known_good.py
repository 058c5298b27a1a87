"""Credentials that were good a moment ago: looked at whatever else comes from the same address."""

import hashlib
from collections import OrderedDict

MOST = 10_000


class KnownGood:
    """The digests of the last so many credentials that were good; the oldest goes first."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def add(self, credential: str) -> None:
        """Remember a credential."""
        digest = _digest(credential)
        self._digests[digest] = None
        self._digests.move_to_end(digest)
        if len(self._digests) > self._most:
            self._digests.popitem(last=False)

    def __contains__(self, credential: str) -> bool:
        return _digest(credential) in self._digests

    def __len__(self) -> int:
        return len(self._digests)


def _digest(credential: str) -> bytes:
    # JSON can bring halves of characters, which are no UTF-8.
    return hashlib.sha256(credential.encode(errors="surrogatepass")).digest()
