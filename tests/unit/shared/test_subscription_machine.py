"""The subscription under everything a bus and a feed can do to it.

A state machine appends to a log, also what cannot be decoded, lets the bus repeat, reorder, drop,
damage and delay messages, replaces the log by another history, fails reads and applies (before and
after they were stored), and starts the subscriber again from what it stored. Whatever happens, what
was applied or parked is exactly the log's positions from 1 on, each once and in order.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from shared.envelope import Entry, Envelope, Page, Undecodable
from shared.failures import TransientFailure
from shared.sections import Subscription as Settings
from shared.subscription import BEGINNING, Cursor, Inbox, Subscription
from tests.unit.shared.factories import envelope, undecodable

T = TypeVar("T")


class MemoryFeed:
    """A log in memory, read in pages."""

    def __init__(self, page_size: int) -> None:
        self.page_size = page_size
        self.log_epoch = "epoch 1"
        self.log: list[Entry] = []
        self.failures = 0
        # A page that breaks off: a hole at its end, or in its middle.
        self.holes = 0

    async def read(self, after: int, *, wait: float = 0.0) -> Page:
        """Return a page; fail as often as was asked for."""
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise TransientFailure("feed: no answer")
        envelopes = self.log[after : after + self.page_size]
        if self.holes and envelopes:
            self.holes -= 1
            envelopes = envelopes[1:]
        return Page(log_epoch=self.log_epoch, head=len(self.log), entries=envelopes)


class MemorySubscriber:
    """What was derived and its cursor, stored together or not at all."""

    def __init__(self) -> None:
        self.cursor = BEGINNING
        # With what was parked, at its place.
        self.applied: list[Entry] = []
        self.fail_before = 0
        self.fail_after = 0
        self.confirmed = BEGINNING

    async def load_cursor(self) -> Cursor:
        """Return what was stored."""
        return self.cursor

    async def start_over(self, log_epoch: str) -> Cursor:
        """Forget the other history."""
        self._maybe_fail_before()
        self.applied = []
        self.cursor = Cursor(log_epoch, 0)
        self._maybe_fail_after()
        return self.cursor

    async def apply(self, envelopes: Sequence[Envelope], cursor: Cursor) -> None:
        """Store everything or nothing; an answer can be lost after it was stored."""
        await asyncio.sleep(0)
        self._maybe_fail_before()
        assert envelopes, "an empty transaction"
        positions = [one.position for one in envelopes]
        assert positions == list(range(self.cursor.position + 1, cursor.position + 1))
        self._store(envelopes, cursor)

    async def park(self, event: Undecodable, cursor: Cursor) -> None:
        """Likewise, what cannot be decoded."""
        await asyncio.sleep(0)
        self._maybe_fail_before()
        assert event.position == cursor.position == self.cursor.position + 1
        self._store([event], cursor)

    def _store(self, entries: Sequence[Entry], cursor: Cursor) -> None:
        assert cursor.log_epoch == self.cursor.log_epoch, "two histories mixed"
        self.applied += entries
        self.cursor = cursor
        self._maybe_fail_after()

    async def confirm(self, cursor: Cursor) -> None:
        """Note that this was the head."""
        self.confirmed = cursor

    def _maybe_fail_before(self) -> None:
        if self.fail_before:
            self.fail_before -= 1
            raise TransientFailure("not stored")

    def _maybe_fail_after(self) -> None:
        if self.fail_after:
            self.fail_after -= 1
            raise TransientFailure("stored, and the answer lost")


class Following(RuleBasedStateMachine):
    """A log, a bus that can do anything, and one subscriber."""

    messages = Bundle("messages")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.feed = MemoryFeed(page_size=3)
        self.subscriber = MemorySubscriber()
        self.restarts = 0
        self.epochs = 1

    def teardown(self) -> None:
        """At rest at last, the subscriber has the whole log, and nothing runs on."""
        try:
            self._run(self._settle())
            assert self.feed.log == self.subscriber.applied
            head = Cursor(self.feed.log_epoch, len(self.feed.log))
            assert self.subscriber.cursor == head
            assert self.subscriber.confirmed == head
            assert not asyncio.all_tasks(self.loop)
        finally:
            self.loop.close()

    @initialize(page_size=some.integers(1, 4))
    def begin(self, page_size: int) -> None:
        """Start a subscriber that has read nothing."""
        self.feed.page_size = page_size
        self._start()

    @rule(target=messages)
    def append(self) -> tuple[str, Entry]:
        """Add to the log; the message is under way."""
        self.feed.log.append(envelope(len(self.feed.log) + 1))
        return self.feed.log_epoch, self.feed.log[-1]

    @rule(target=messages)
    def append_what_cannot_be_decoded(self) -> tuple[str, Entry]:
        """Likewise, by a newer version."""
        self.feed.log.append(undecodable(len(self.feed.log) + 1))
        return self.feed.log_epoch, self.feed.log[-1]

    @rule(target=messages, message=messages)
    def damage(self, message: tuple[str, Entry]) -> tuple[str, Entry]:
        """Let a message be damaged under way: the log has it all the same."""
        log_epoch, entry = message
        return log_epoch, undecodable(entry.position)

    @rule(arrived=some.lists(messages, min_size=1, max_size=6))
    def deliver(self, arrived: list[tuple[str, Entry]]) -> None:
        """Let any messages arrive in any order, again or for the first time, others never."""
        self._try(self.subscription.receive(arrived))

    @rule(arrived=some.lists(messages, min_size=1, max_size=6))
    def deliver_through_the_inbox(self, arrived: list[tuple[str, Entry]]) -> None:
        """Likewise, by way of a small inbox that drops what it cannot hold."""

        async def through() -> None:
            inbox = Inbox(capacity=3)
            for one in arrived:
                inbox.put(*one)
            taken = await inbox.take(0)
            assert len(taken) == min(3, len(arrived))
            await self.subscription.receive(taken)

        self._try(through())

    @rule()
    def catch_up(self) -> None:
        """Ask the feed."""
        self._try(self.subscription.catch_up())

    @rule()
    def restore_a_backup(self) -> None:
        """Become another history, shorter or the same up to somewhere: a new epoch."""
        self.epochs += 1
        self.feed.log_epoch = f"epoch {self.epochs}"
        self.feed.log = self.feed.log[: len(self.feed.log) // 2]

    @rule()
    def restart(self) -> None:
        """Lose the memory; the store is left."""
        self._start()

    @rule(times=some.integers(1, 2))
    def fail_reads(self, times: int) -> None:
        """Let the next reads fail."""
        self.feed.failures = times

    @rule(times=some.integers(1, 2))
    def break_pages(self, times: int) -> None:
        """Let the next pages have a hole."""
        self.feed.holes = times

    @rule(times=some.integers(1, 2))
    def fail_before_storing(self, times: int) -> None:
        """Let the next applies fail."""
        self.subscriber.fail_before = times

    @rule(times=some.integers(1, 2))
    def fail_after_storing(self, times: int) -> None:
        """Let the next applies be stored without an answer."""
        self.subscriber.fail_after = times

    @invariant()
    def what_was_applied_is_the_log_from_its_beginning(self) -> None:
        """No hole, no repeat, no stranger, no other order."""
        applied, cursor = self.subscriber.applied, self.subscriber.cursor
        assert [one.position for one in applied] == list(range(1, cursor.position + 1))
        if cursor.log_epoch == self.feed.log_epoch:
            assert applied == self.feed.log[: len(applied)]

    def _start(self) -> None:
        self.subscription = Subscription(
            self.subscriber, self.feed, Settings(), park=self.subscriber.park
        )
        self._reload()

    def _try(self, what: Coroutine[Any, Any, None]) -> None:
        """As `Subscription.run` does it: after a failure, go on from what is stored."""
        try:
            self._run(what)
        except TransientFailure:
            self._reload()

    def _reload(self) -> None:
        self.subscription._cursor = self.subscriber.cursor

    async def _settle(self) -> None:
        for _ in range(10):
            try:
                await self.subscription.catch_up()
            except TransientFailure:
                self._reload()
            else:
                return
        raise AssertionError("it never came to rest")

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(what)


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
