"""The keys in force: noticed when they appear, change, or their turn comes.

Without usable keys the service runs and says why; when they appear it goes on by itself.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from services.token.key_files import KeyUnusable
from services.token.keys import SigningKey
from services.token.rotation import KeyPlaces, Plan
from shared.logs import get_logger

# How often the files are looked at.
LOOK_SECONDS = 1.0
NEVER = datetime.max.replace(tzinfo=UTC)
log = get_logger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Part(NamedTuple):
    """A key that is published, and what it is there for."""

    kid: str
    algorithm: str
    state: Literal["current", "next", "previous"]


class KeyRing:
    """The keys in force. Between two looks at the files, asking for one compares two clocks."""

    def __init__(
        self, private_path: Path, public_path: Path, *, clock: Callable[[], datetime] = _utc_now
    ) -> None:
        self._places = KeyPlaces(private_path, public_path)
        self._clock = clock
        self._seen: object = None
        self._look_at = -float("inf")
        self._changes_at = datetime.min.replace(tzinfo=UTC)
        self._current: SigningKey | None = None
        self._published: list[dict[str, Any]] = []
        self._next_kid: str | None = None
        self._made_at: float | None = None
        self.trouble: str | None = "the signing keys have not been read yet"

    def current(self) -> SigningKey | None:
        """Return the key that signs, or None; `trouble` then says why."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._look()
        return self._current

    def published(self) -> list[dict[str, Any]]:
        """Return the public half of every key that a token in use may be signed with (RFC 7517).

        The one that signs comes first. None while there is none: nothing can be verified then.
        """
        return self._published if self.current() is not None else []

    def parts(self) -> Sequence[Part]:
        """Return what each of the published keys is there for."""
        return [
            Part(
                str(one["kid"]),
                str(one["alg"]),
                "current" if place == 0 else "next" if one["kid"] == self._next_kid else "previous",
            )
            for place, one in enumerate(self.published())
        ]

    def made_at(self) -> float | None:
        """Return when the key that signs was made, by its file: seconds since 1970."""
        return self._made_at if self.current() is not None else None

    def changes_at(self) -> datetime | None:
        """Return when the next step of a rotation has its turn; None when there is none."""
        known = self.current() is not None and self._changes_at != NEVER
        return self._changes_at if known else None

    def _look(self) -> None:
        seen = [_fingerprint(path) for path in self._places.all]
        now = self._clock()
        # Read again as long as there is trouble: not all that is mended shows in the fingerprint.
        if seen != self._seen or self._current is None or now >= self._changes_at:
            self._seen = seen
            self._read(now)

    def _read(self, now: datetime) -> None:
        try:
            usual, following, plan = self._places.read()
        except KeyUnusable as error:
            self._current = None
            if self.trouble != str(error):
                self.trouble = str(error)
                log.warning("signing keys cannot be used", reason=self.trouble)
            return
        before = self._current
        successor = following if is_due(plan, now) else None
        self._current = successor or usual
        kept = [one.jwk for one in plan.predecessors if one.published_until > now]
        others = [one.jwk for one in (usual, following) if one is not None]
        by_kid = {str(one["kid"]): one for one in (self._current.jwk, *others, *kept)}
        self._published = list(by_kid.values())
        self._changes_at = _next_change(plan, now)
        self._next_kid = following.kid if following is not None and successor is None else None
        self._made_at = self._places.made_at(signs_under_its_own_name=successor is None)
        self.trouble = None
        if before is None or before.kid != self._current.kid:
            log.info(
                "signing keys loaded", algorithm=self._current.algorithm, kid=self._current.kid
            )
        if successor is not None:
            self._finish(now)

    def _finish(self, now: datetime) -> None:
        try:
            self._places.finish(now)
        except (OSError, KeyUnusable) as error:
            # Of no matter: what signs is said by the plan.
            log.debug("the next key stays under its own name", reason=type(error).__name__)


def is_due(plan: Plan, now: datetime) -> bool:
    """Tell whether the next key signs by now."""
    return plan.successor is not None and plan.successor.signs_from <= now


def _next_change(plan: Plan, now: datetime) -> datetime:
    """Return when something in the plan has its turn, after now."""
    moments = [one.published_until for one in plan.predecessors]
    if plan.successor is not None:
        moments.append(plan.successor.signs_from)
    return min((one for one in moments if one > now), default=NEVER)


def _fingerprint(path: Path) -> tuple[int, ...] | str:
    try:
        found = path.stat()
    except OSError as error:
        return type(error).__name__
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode, found.st_ctime_ns)
