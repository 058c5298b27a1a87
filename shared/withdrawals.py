"""Access tokens that are good by their signature and must be refused all the same.

A map from client to what ended its tokens, kept by the same subscription as everything else that
follows the log. Only what happened within the lifetime of a token matters: what is older can have
left no token that is still good.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Protocol

from shared.envelope import Envelope, Page
from shared.events import (
    ApplicationActivated,
    ApplicationDeactivated,
    ApplicationDeleted,
    TokensRevoked,
)
from shared.failures import TransientFailure
from shared.logs import get_logger
from shared.subscription import BEGINNING, Cursor

SWEEP_SECONDS = 60.0
log = get_logger(__name__)


class TokenWithdrawn(Exception):
    """The token was good and is no more; the reason is for the log."""


class WithdrawalsStale(TransientFailure):
    """It has not been known for too long what was withdrawn."""


class Feed(Protocol):
    """Where events are read."""

    async def read(self, after: int, *, wait: float = 0.0) -> Page:
        """Return the events after a position."""


@dataclass(slots=True)
class _Client:
    """What ended a client's tokens; moments are Unix times."""

    changed_at: float
    stopped: bool = False
    not_before: float = 0.0
    revoked: dict[str, float] = field(default_factory=dict)


class Withdrawals:
    """A subscriber of the log, in memory; give it to a `Subscription`, and ask it for each token.

    `lifetime` is how long any token is good; `max_staleness` how long it may go without news, and
    `when_stale` what then: "refuse" (503), or "accept" what the signature says.
    """

    def __init__(
        self,
        feed: Feed,
        *,
        lifetime: timedelta,
        max_staleness: timedelta,
        when_stale: Literal["refuse", "accept"] = "refuse",
    ) -> None:
        self._feed = feed
        self._lifetime = lifetime.total_seconds()
        self._max_staleness = max_staleness.total_seconds()
        self._refuses = when_stale == "refuse"
        self._clients: dict[str, _Client] = {}
        self._cursor = BEGINNING
        self._confirmed_at = -float("inf")
        self._sweep_at = 0.0

    @property
    def staleness(self) -> float:
        """Seconds since everything was known; infinite before the first time."""
        return time.monotonic() - self._confirmed_at

    def check(self, client_id: str, jti: str, issued_at: float) -> None:
        """Return if nothing has ended the token. Raises TokenWithdrawn, WithdrawalsStale."""
        if self._refuses and self.staleness > self._max_staleness:
            raise WithdrawalsStale(f"no news for {self.staleness:.0f} s")
        client = self._clients.get(client_id)
        if client is None:
            return
        if client.stopped:
            raise TokenWithdrawn("the client is deactivated or deleted")
        if issued_at < client.not_before:
            raise TokenWithdrawn("the client's tokens were revoked")
        if jti in client.revoked:
            raise TokenWithdrawn("the token was revoked")

    def __len__(self) -> int:
        return len(self._clients)

    async def load_cursor(self) -> Cursor:
        """Return how far this process has come."""
        return self._cursor

    async def start_over(self, log_epoch: str) -> Cursor:
        """Forget what was, and return the place of the first event that can matter."""
        position = await self._first_since(time.time() - self._lifetime)
        self._clients.clear()
        self._cursor = Cursor(log_epoch, position)
        log.info("following withdrawals", log_epoch=log_epoch, after=position)
        return self._cursor

    async def apply(self, envelopes: Sequence[Envelope], cursor: Cursor) -> None:
        """Take what happened."""
        for one in envelopes:
            self._take(one)
        self._cursor = cursor

    async def confirm(self, cursor: Cursor) -> None:
        """Learn that there was nothing more a moment ago."""
        if cursor == self._cursor:
            self._confirmed_at = time.monotonic()
        if self._confirmed_at >= self._sweep_at:
            self._sweep_at = self._confirmed_at + SWEEP_SECONDS
            self._sweep(time.time())

    def _take(self, envelope: Envelope) -> None:
        event, at = envelope.event, envelope.time.timestamp()
        if not isinstance(
            event,
            ApplicationActivated | ApplicationDeactivated | ApplicationDeleted | TokensRevoked,
        ):
            return
        client = self._clients.setdefault(event.client_id, _Client(at))
        client.changed_at = max(client.changed_at, at)
        match event:
            case ApplicationActivated():
                client.stopped = False
            case ApplicationDeactivated() | ApplicationDeleted():
                client.stopped = True
            case TokensRevoked(jti=str() as jti, token_expires_at=until) if until is not None:
                client.revoked[jti] = until.timestamp()
            case TokensRevoked():
                client.not_before = max(client.not_before, event.not_before.timestamp())

    def _sweep(self, now: float) -> None:
        """Forget what no token can be concerned by any more."""
        for client in self._clients.values():
            client.revoked = {jti: until for jti, until in client.revoked.items() if until > now}
        old = now - self._lifetime - SWEEP_SECONDS
        self._clients = {
            client_id: one
            for client_id, one in self._clients.items()
            if one.changed_at > old or one.revoked
        }

    async def _first_since(self, moment: float) -> int:
        """Return the position after which all events since a moment stand, by halving the log."""
        low, high = 0, (await self._feed.read(0)).head
        while low < high:
            middle = (low + high) // 2
            page = await self._feed.read(middle)
            if page.envelopes and page.envelopes[0].time.timestamp() < moment:
                low = middle + 1
            else:
                high = middle
        return low
