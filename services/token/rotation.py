"""Replacing the signing key while tokens are issued, on every host that has the same files.

A rotation is a plan in one file beside the keys: from when on the next key signs, and until when
the others are published. It is carried out by time, by every process for itself, so a folder that
the services cannot write does as well. Where they can, whoever comes first moves the next pair to
the usual names once it signs.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from services.token.key_files import (
    PRIVATE_MODE,
    PUBLIC_MODE,
    KeyUnusable,
    replace_file,
    sync,
    write_pair,
)
from services.token.keys import Algorithm, SigningKey, load, new_key

# Clocks of resource servers may be behind by as much: a key is published beyond its last token.
GRACE = timedelta(minutes=5)


class RotationUnderWay(Exception):
    """The key before has not begun to sign yet."""


class NotWithdrawn(Exception):
    """The key is none that is still published though it signs no more."""


class Successor(msgspec.Struct, frozen=True, kw_only=True):
    """The key that signs from a moment on."""

    kid: str
    signs_from: datetime


class Predecessor(msgspec.Struct, frozen=True, kw_only=True):
    """The public half of a key that signs no more once its successor does."""

    jwk: dict[str, Any]
    published_until: datetime


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to become of the keys; without a rotation there is nothing in it."""

    successor: Successor | None = None
    predecessors: tuple[Predecessor, ...] = ()

    @property
    def kids(self) -> frozenset[str]:
        """The keys that the file of the public key may hold while the pair is replaced."""
        ahead = {self.successor.kid} if self.successor else set()
        return frozenset(ahead | {str(one.jwk["kid"]) for one in self.predecessors})


class KeyPlaces:
    """Where the pair that signs is, and beside it the next pair and the plan."""

    def __init__(self, private: Path, public: Path) -> None:
        self.private = private
        self.public = public
        self.next_private = private.with_name(f"{private.stem}.next{private.suffix}")
        self.next_public = public.with_name(f"{public.stem}.next{public.suffix}")
        self.plan = private.with_name(f"{private.stem}.rotation.json")
        self._lock = private.with_name(f"{private.stem}.lock")

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file that says what is published and what signs."""
        return self.private, self.public, self.next_private, self.next_public, self.plan

    def read_plan(self) -> Plan:
        """Return the plan, empty if there is none. Raises KeyUnusable."""
        try:
            return msgspec.json.decode(self.plan.read_bytes(), type=Plan)
        except FileNotFoundError:
            return Plan()
        except OSError as error:
            message = f"{self.plan}: cannot be read ({error.strerror}); check owner and permissions"
            raise KeyUnusable(message) from None
        except msgspec.MsgspecError:
            message = (
                f"{self.plan}: not the plan of a rotation; restore it, or remove it together with "
                f"{self.next_private} if that key has not signed yet"
            )
            raise KeyUnusable(message) from None

    def made_at(self, *, signs_under_its_own_name: bool) -> float | None:
        """Return when the file of the key that signs was written, in seconds since 1970."""
        for path in (self.private, self.next_private)[:: 1 if signs_under_its_own_name else -1]:
            try:
                return path.stat().st_mtime
            except OSError:
                # Moved to the usual name while we looked.
                continue
        return None

    def rotate(
        self, *, algorithm: Algorithm | None, ahead: timedelta, lifetime: timedelta, now: datetime
    ) -> Plan:
        """Make the next key and plan its turn: it signs after `ahead`, published from now on.

        The key before stays published until its last token, of this lifetime, has expired. Raises
        RotationUnderWay, KeyUnusable and KeyExists.
        """
        try:
            with self._locked():
                self._move_next(now)
                current, plan = load(self.private, self.public), self.read_plan()
                if plan.successor is not None:
                    at = plan.successor.signs_from.isoformat(timespec="seconds")
                    message = f"a rotation is under way: its key signs from {at}; wait until then"
                    raise RotationUnderWay(message)
                # Of one that was broken off before it was planned.
                self.next_private.unlink(missing_ok=True)
                self.next_public.unlink(missing_ok=True)
                chosen = algorithm or current.algorithm
                write_pair(self.next_private, self.next_public, new_key(chosen))
                signs_from = now + ahead
                kept = [one for one in plan.predecessors if one.published_until > now]
                last = Predecessor(jwk=current.jwk, published_until=signs_from + lifetime + GRACE)
                following = load(self.next_private, self.next_public)
                plan = Plan(
                    successor=Successor(kid=following.kid, signs_from=signs_from),
                    predecessors=(*kept, last),
                )
                self._write(plan)
                return plan
        except OSError as error:
            raise _not_written(error, self.private.parent) from None

    def withdraw(self, kid: str, *, now: datetime) -> None:
        """Publish a key no longer that has signed: its tokens are refused from now on.

        Raises NotWithdrawn, KeyUnusable.
        """
        try:
            with self._locked():
                self._move_next(now)
                plan = self.read_plan()
                if plan.successor is not None or kid == load(self.private, self.public).kid:
                    message = "it signs, or its turn is to come: first `keys rotate --ahead 0s`"
                    raise NotWithdrawn(message)
                kept = tuple(one for one in plan.predecessors if one.jwk["kid"] != kid)
                if kept == plan.predecessors:
                    message = f"{kid}: none of the previous keys; `keys list` shows them"
                    raise NotWithdrawn(message)
                self._write(Plan(predecessors=kept))
        except OSError as error:
            raise _not_written(error, self.private.parent) from None

    def finish(self, now: datetime) -> None:
        """Move the next pair to the usual names if it signs by now. Raises OSError, KeyUnusable."""
        with self._locked():
            self._move_next(now)

    def _move_next(self, now: datetime) -> None:
        plan = self.read_plan()
        if plan.successor is None or plan.successor.signs_from > now:
            return
        for source, place in (
            (self.next_private, self.private),
            (self.next_public, self.public),
        ):
            # What is not there any more was moved before this broke off.
            if source.exists():
                source.replace(place)
        sync(self.private.parent)
        kept = tuple(one for one in plan.predecessors if one.published_until > now)
        self._write(Plan(predecessors=kept))

    def _write(self, plan: Plan) -> None:
        replace_file(self.plan, msgspec.json.format(msgspec.json.encode(plan)), PUBLIC_MODE)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read(self) -> tuple[SigningKey, SigningKey | None, Plan]:
        """Return the key under the usual names, the next one if it is not there yet, and the plan.

        Raises KeyUnusable.
        """
        for last in (False, False, True):
            plan = self.read_plan()
            try:
                following = None
                if plan.successor is not None and self.next_private.exists():
                    following = load(self.next_private, self.next_public, also=plan.kids)
                    if following.kid != plan.successor.kid and not last:
                        # All files were replaced at once, by those of a later rotation.
                        continue
                return load(self.private, self.public, also=plan.kids), following, plan
            except KeyUnusable:
                # Perhaps they were moved while we read; the plan is written before that, and after.
                if last or (plan.successor is None and plan == self.read_plan()):
                    raise
        raise AssertionError


def _not_written(error: OSError, folder: Path) -> KeyUnusable:
    place = error.filename or folder
    return KeyUnusable(
        f"{place}: cannot be written ({error.strerror}); check folder and permissions"
    )
