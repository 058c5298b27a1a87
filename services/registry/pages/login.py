"""Checking a password, without telling what was wrong, and not too often."""

import asyncio
import time
from collections.abc import Callable, Hashable
from functools import cache

from prometheus_client import Counter

from services.registry.directory import is_storable
from services.registry.passwords import hash_password, matches, new_password
from shared.known_good import KnownGood
from shared.postgres import Pool
from shared.sections import Logins
from shared.security_log import security
from shared.token_bucket import TokenBuckets, network_of

LOGINS = Counter("oauthapps_registry_logins_total", "Attempts to log in", ["outcome"])


class TooManyAttempts(Exception):
    """Too many attempts to log in; `seconds` until the next is looked at."""

    def __init__(self, seconds: int) -> None:
        super().__init__("Too many attempts to log in.")
        self.seconds = seconds


class Passwords:
    """Checks passwords. Each process counts attempts by itself, for the account and the address.

    An account from where it logged in lately is counted apart: whoever guesses elsewhere does not
    keep its owner out.
    """

    def __init__(
        self, pool: Pool, limits: Logins, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._buckets = {
            "account": TokenBuckets(limits.per_account_and_minute, clock=clock),
            "address": TokenBuckets(limits.per_address_and_minute, clock=clock),
        }
        self._known = KnownGood()
        # A check takes a core for 50 ms: never all of them at once.
        self._turns = asyncio.Semaphore(2)

    async def user_of(self, email: str, password: str, *, address: str) -> str | None:
        """Return the id of the active user with this password, or None. Raises TooManyAttempts."""
        email = email.strip()[:320]
        network = network_of(address)
        self._admit("address", network)
        account, at_home = email.casefold(), (email.casefold(), network)
        # Also for an address that nobody has: otherwise the limit would tell.
        self._admit("account", at_home if at_home in self._known else account)
        row = await self._pool.fetchrow(_USER, email) if is_storable(email) else None
        known = row is not None and row["active"] and row["password_hash"] is not None
        async with self._turns:
            # Whoever is known, so that the first attempt tells nothing either.
            nobody = await asyncio.to_thread(_hash_of_nobody)
            kept = row["password_hash"] if row is not None and known else nobody
            is_right = await asyncio.to_thread(matches, kept, password)
        user_id = None if row is None else str(row["id"])
        if not (known and is_right):
            LOGINS.labels("refused").inc()
            reason = "wrong password" if known else "nobody who could log in"
            security.warning("password refused", user=user_id, reason=reason)
            return None
        self._known.add(at_home)
        LOGINS.labels("accepted").inc()
        security.info("password accepted", user=user_id)
        return user_id

    async def has_one(self, user_id: str) -> bool:
        """Tell whether a user has a password at all."""
        found: bool = await self._pool.fetchval(_HAS_ONE, user_id)
        return found

    def _admit(self, of: str, key: Hashable) -> None:
        level = self._buckets[of].take(key)
        if not level.granted:
            LOGINS.labels("limited").inc()
            security.warning("logins limited", of=of)
            raise TooManyAttempts(level.reset_seconds)


def too_many(error: TooManyAttempts) -> str:
    """Return what a person is told."""
    return f"Too many attempts. Try again in {error.seconds} seconds."


@cache
def _hash_of_nobody() -> str:
    """Return what takes the time of a real one, for those whom nobody knows."""
    return hash_password(new_password())


_USER = "SELECT id, active, password_hash FROM registry.users WHERE lower(email) = lower($1)"
_HAS_ONE = "SELECT count(password_hash) > 0 FROM registry.users WHERE id = $1"
