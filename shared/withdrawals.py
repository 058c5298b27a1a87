"""Access tokens that are good by their signature and must be refused all the same.

A map from client to what ended its tokens, kept by the same subscription as everything else that
follows the log. Only what happened lately matters: what is older can have left no token that is
still good.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol

from shared.envelope import Envelope, Page
from shared.events import (
    ApplicationActivated,
    ApplicationDeactivated,
    ApplicationDeleted,
    ApplicationUpdated,
    TokensRevoked,
)
from shared.failures import TransientFailure
from shared.logs import get_logger
from shared.subscription import BEGINNING, Cursor

# How often what is past is forgotten, and how far the registry's clock may be off.
SWEEP_SECONDS = 60.0
WhenStale = Literal["refuse", "accept"]
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
    ends_at: float = math.inf
    revoked: dict[str, float] = field(default_factory=dict)

    def is_free(self) -> bool:
        """Tell whether nothing is held against any token."""
        ended = self.stopped or self.not_before or self.revoked
        return not ended and self.ends_at == math.inf


class Withdrawals:
    """A subscriber of the log, in memory; give it to a `Subscription`, and ask it for each token.

    `lifetime` is how long after an event there can be tokens that it ends: as long as any token is
    good, and `token.max_staleness` on top, as a token service that is cut off issues for so long.
    `max_staleness` is how long we may go without news ourselves, and `when_stale` what then:
    "refuse" (503), or "accept" what the signature says and is not known to be withdrawn.
    """

    def __init__(
        self,
        feed: Feed,
        *,
        lifetime: timedelta,
        max_staleness: timedelta,
        when_stale: WhenStale = "refuse",
    ) -> None:
        self._feed = feed
        self._lifetime = lifetime.total_seconds()
        self._max_staleness = max_staleness.total_seconds()
        self._refuses = when_stale == "refuse"
        # What tokens are judged by, and what the log has said so far: two while another history is
        # read, since half of it would let in what was withdrawn.
        self._clients: dict[str, _Client] = {}
        self._told = self._clients
        self._cursor = BEGINNING
        self._confirmed_at = -math.inf
        self._known = asyncio.Event()
        self._sweep_at = 0.0
        self._is_stale = False

    @property
    def staleness(self) -> float:
        """Seconds since everything was known; infinite before the first time."""
        return time.monotonic() - self._confirmed_at

    async def known(self, seconds: float) -> None:
        """Return once everything is known, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._known.wait()

    def check(self, client_id: str, jti: str, issued_at: float) -> None:
        """Return if nothing has ended the token. Raises TokenWithdrawn, WithdrawalsStale."""
        self._check_staleness()
        client = self._clients.get(client_id)
        if client is None:
            return
        if client.stopped:
            raise TokenWithdrawn("the client is deactivated or deleted")
        if issued_at < client.not_before:
            raise TokenWithdrawn("the client's tokens were revoked")
        if jti in client.revoked:
            raise TokenWithdrawn("the token was revoked")
        if client.ends_at <= time.time():
            raise TokenWithdrawn("the application has ended")

    def _check_staleness(self) -> None:
        staleness = self.staleness
        is_stale = staleness > self._max_staleness
        if is_stale != self._is_stale:
            self._is_stale = is_stale
            if is_stale:
                tokens = "refused" if self._refuses else "accepted by their signature"
                log.warning("no news of withdrawals for too long", tokens=tokens)
            else:
                log.info("withdrawals are known again")
        if is_stale and self._refuses:
            raise WithdrawalsStale(f"no news for {staleness:.0f} s")

    def __len__(self) -> int:
        return len(self._clients)

    async def load_cursor(self) -> Cursor:
        """Return how far this process has come."""
        return self._cursor

    async def start_over(self, log_epoch: str) -> Cursor:
        """Return the place of the first event that can matter.

        What was known counts until the other history has been read.
        """
        position = await self._first_since(time.time() - self._lifetime - SWEEP_SECONDS)
        self._told = {}
        self._cursor = Cursor(log_epoch, position)
        log.info("following withdrawals", log_epoch=log_epoch, after=position)
        return self._cursor

    async def apply(self, envelopes: Sequence[Envelope], cursor: Cursor) -> None:
        """Take what happened."""
        for one in envelopes:
            self._take(one)
        self._cursor = cursor
        self._sweep_now_and_then()

    async def confirm(self, cursor: Cursor) -> None:
        """Learn that there was nothing more a moment ago."""
        if cursor == self._cursor:
            self._clients = self._told
            self._confirmed_at = time.monotonic()
            self._known.set()
        self._sweep_now_and_then()

    def _take(self, envelope: Envelope) -> None:
        event, at = envelope.event, envelope.time.timestamp()
        if not isinstance(
            event,
            ApplicationActivated
            | ApplicationDeactivated
            | ApplicationDeleted
            | ApplicationUpdated
            | TokensRevoked,
        ):
            return
        client = self._told.setdefault(event.client_id, _Client(at))
        client.changed_at = max(client.changed_at, at)
        match event:
            case ApplicationActivated():
                client.stopped = False
            case ApplicationDeactivated() | ApplicationDeleted():
                client.stopped = True
            case ApplicationUpdated():
                # As it was at the creation it is in each token's own `exp`.
                if "expires_at" in event.changed:
                    client.ends_at = self._end(event.expires_at, at)
            case TokensRevoked(jti=str() as jti, token_expires_at=until) if until is not None:
                client.revoked[jti] = until.timestamp()
            case TokensRevoked():
                client.not_before = max(client.not_before, event.not_before.timestamp())
        if client.is_free():
            del self._told[event.client_id]

    def _end(self, expires_at: datetime | None, at: float) -> float:
        """Return when an application's end, as told at a moment, ends tokens; never: infinite."""
        end = math.inf if expires_at is None else expires_at.timestamp()
        # A token of before has expired by itself by then, and one of after knows that end.
        return end if end < at + self._lifetime else math.inf

    def _sweep_now_and_then(self) -> None:
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_SECONDS
            self._sweep(time.time())

    def _sweep(self, now: float) -> None:
        """Forget what no token can be concerned by any more."""
        old = now - self._lifetime - SWEEP_SECONDS
        for client_id, one in list(self._told.items()):
            one.revoked = {jti: until for jti, until in one.revoked.items() if until > now}
            if one.changed_at <= old and not one.revoked:
                del self._told[client_id]

    async def _first_since(self, moment: float) -> int:
        """Return the position after which all events since a moment stand, by halving the log."""
        low, high = 0, (await self._feed.read(0)).head
        while low < high:
            middle = (low + high) // 2
            page = await self._feed.read(middle)
            at = page.entries[0].time if page.entries else None
            if at is not None and at.timestamp() < moment:
                low = middle + 1
            else:
                high = middle
        return low
