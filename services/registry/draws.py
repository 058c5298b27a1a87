"""What is drawn for a command: its random bytes have a purpose, so that a retry can draw again."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

# What the one answer with the secret is made from again.
CLIENT_SECRET = "client secret"  # noqa: S105 - a purpose, not a secret
# More than anything draws for one purpose. What is drawn does not depend on it.
_DRAWN_BYTES = 256


@dataclass(frozen=True, slots=True)
class Draws:
    """All that one command draws, derived from a key: the same however often it is tried.

    What a purpose gives must stay as it is: an upgrade can fall between two tries.
    """

    _key: bytes = field(repr=False)

    @property
    def command_id(self) -> str:
        """The id under which the log knows the command, whoever sends it and however often."""
        return new_id(self.random("command"))

    def random(self, purpose: str) -> Callable[[int], bytes]:
        """Return what draws bytes for a purpose: the same ones each time."""
        return BytesIO(expand(self._key, f"draw {purpose}", _DRAWN_BYTES)).read


def new_id(random: Callable[[int], bytes]) -> str:
    """Return a UUID of version 4 from random bytes."""
    return str(uuid.UUID(bytes=random(16), version=4))


def expand(key: bytes, purpose: str, length: int) -> bytes:
    """Return bytes that derive from a key, others for each purpose. RFC 5869, section 2.3."""
    return HKDFExpand(algorithm=SHA256(), length=length, info=purpose.encode()).derive(key)
