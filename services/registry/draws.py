"""What is drawn for a command: its random bytes have a purpose, so that a retry can draw again."""

import uuid
from collections.abc import Callable

# What the one answer with the secret is made from again.
CLIENT_SECRET = "client secret"  # noqa: S105 - a purpose, not a secret


def new_id(random: Callable[[int], bytes]) -> str:
    """Return a UUID of version 4 from random bytes."""
    return str(uuid.UUID(bytes=random(16), version=4))
