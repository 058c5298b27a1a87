"""Forms that make a secret, and are sent twice: by a double click, or by going back.

What the command draws derives from the session and the form. Sent again at once it is answered the
same, since whoever clicked twice sees the second answer only; later the secret is not shown again.
"""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from services.registry.clock import now
from services.registry.draws import CLIENT_SECRET, Draws
from services.registry.event_store import EventStore
from services.registry.pages.visits import Visit
from shared.credentials import new_client_secret
from shared.problem import Problem

AT_ONCE = timedelta(seconds=30)


class SentBefore(Problem):
    """This was done when the form was sent first, and its secret was shown then."""

    def __init__(self) -> None:
        super().__init__(
            409,
            "This form was sent before, and what it asks for was done then. Its secret was shown "
            "that once; if it is lost, rotate it.",
        )


def draws_of(visit: Visit, *form: str | Sequence[str]) -> Draws:
    """Return what a form draws that was made for this visitor, with these values in it."""
    content = msgspec.json.encode(["form", *form])
    return Draws(hmac.new(visit.session.token.encode(), content, hashlib.sha256).digest())


async def sent_before(store: EventStore, draws: Draws) -> tuple[str, str] | None:
    """Return application and secret if the form was sent a moment ago, None if never.

    Raises SentBefore if that is longer ago.
    """
    envelopes = await store.outcome(draws.command_id)
    if not envelopes:
        return None
    if now() - envelopes[0].time > AT_ONCE:
        raise SentBefore
    return envelopes[0].stream, new_client_secret(draws.random(CLIENT_SECRET))
