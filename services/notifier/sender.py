"""The senders: claim what is due, attempt it, note how that ended, before the lease does."""

import asyncio
import random
import uuid
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Protocol

from prometheus_client import Counter, Histogram
from structlog.contextvars import bound_contextvars

from services.notifier.attempt import Attempt, Recipients
from services.notifier.deliveries import Claim, Deliveries
from services.notifier.domain import ADMINISTRATORS
from services.notifier.outcome import Outcome, Policy, Verdict, judge
from services.notifier.outgoing import Outgoing
from services.notifier.rendering import Renderer
from services.notifier.smtp import Mailer
from shared.database_words import reason_of
from shared.interruptions import Interruptions
from shared.logs import get_logger
from shared.postgres import POSTGRES_ERRORS
from shared.sections import Notifier as Settings
from shared.tracing import OFF, Tracing, about, note

POLL_SECONDS = 1.0
DATABASE_PAUSE_SECONDS = 1.0
# Twice this is how long the end of the service may wait for us.
END_SECONDS = 0.7
# A connection that has nothing to do for so long is given back to the mail server.
IDLE_SECONDS = 30.0
# What is left of a lease to note the outcome before somebody else begins.
SENDING_SHARE_OF_LEASE = 0.9
log = get_logger(__name__)

ATTEMPTS = Counter(
    "oauthapps_notifier_attempts_total", "Attempts to send a mail, by how they ended.", ["outcome"]
)
MAIL_SECONDS = Histogram(
    "oauthapps_notifier_event_to_mail_seconds",
    "From what happened to the mail about it that the mail server took",
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600, 14400, 86400),
)
LEASES_LOST = Counter(
    "oauthapps_notifier_leases_lost_total", "Attempts that ended after their lease had gone."
)


class Organizations(Protocol):
    """Who knows the administrators of an organization."""

    async def administrators(self, organization_id: str) -> tuple[str, ...]:
        """Return the ids of those who are active. Raises TransientFailure."""


class Senders:
    """All senders of this process."""

    def __init__(
        self,
        settings: Settings,
        deliveries: Deliveries,
        recipients: Recipients,
        renderer: Renderer,
        organizations: Organizations,
        *,
        tracing: Tracing = OFF,
    ) -> None:
        self._settings = settings
        self._tracing = tracing
        self._organizations = organizations
        self._deliveries = deliveries
        self._woken = asyncio.Event()
        self._attempt = Attempt(
            recipients,
            renderer,
            Outgoing(settings),
            expand=self._expand,
            sender_address=settings.sender_address,
            longest=settings.lease * SENDING_SHARE_OF_LEASE,
        )

    @property
    def smtp_trouble(self) -> str | None:
        """Why the mail server did not take the last mail, if it is to blame."""
        return self._attempt.smtp_trouble

    def wake(self) -> None:
        """Look for due deliveries now rather than at the next poll."""
        self._woken.set()

    async def _expand(self, claim: Claim, organization_id: str) -> int:
        """Tell those who administer now: they change, and the log does not say so."""
        found = await self._organizations.administrators(organization_id)
        domain = self._settings.message_id_domain
        await self._deliveries.fan_out(claim, found, message_id_domain=domain)
        self.wake()
        return len(found)

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._settings.senders):
                sender = Sender(
                    self._settings,
                    self._deliveries,
                    self._attempt,
                    self._woken,
                    tracing=self._tracing,
                )
                tasks.create_task(sender.run())


class Sender:
    """One sender with one connection to the mail server; it holds one claim at a time."""

    def __init__(
        self,
        settings: Settings,
        deliveries: Deliveries,
        attempt: Attempt,
        woken: asyncio.Event,
        *,
        tracing: Tracing = OFF,
    ) -> None:
        self._owner = uuid.uuid4()
        self._lease = settings.lease
        self._policy = Policy(
            retry_first=settings.retry_first,
            retry_longest=settings.retry_longest,
            give_up_after=settings.give_up_after,
            unknown_outcome=settings.unknown_outcome,
        )
        self._deliveries = deliveries
        self._attempt = attempt
        self._mailer = Mailer(settings.smtp)
        self._woken = woken
        self._tracing = tracing
        # The database's answer to a claim was lost: we may hold one and not know it.
        self._may_hold = False
        # An outcome that the database does not know yet: its delivery must not be let go.
        self._unnoted = False
        self._interrupted = Interruptions(log, "sender interrupted", over="sender goes on")

    async def run(self) -> None:
        """Send until cancelled; then leave nothing claimed that was not handed over."""
        busy_until = _now()
        claim: Claim | None = None
        try:
            while True:
                # Cleared before the look, so that what is recorded after it wakes us again.
                self._woken.clear()
                if claim is None:
                    claim = await self._claim()
                if claim is not None:
                    claim = await self._finish(claim)
                    busy_until = _now()
                    continue
                if _now() - busy_until > IDLE_SECONDS:
                    await self._mailer.close()
                await self._rest()
        finally:
            await self._leave()

    async def _claim(self) -> Claim | None:
        """Return the delivery that is due; None when there is none, or no database."""
        try:
            claim = None
            if self._may_hold:
                claim = await self._deliveries.held(self._owner, self._lease)
            self._may_hold = True
            if claim is None:
                claim = await self._deliveries.claim(self._owner, self._lease)
            self._may_hold = False
        except POSTGRES_ERRORS as error:
            self._interrupted.note(error)
            await asyncio.sleep(DATABASE_PAUSE_SECONDS)
            return None
        self._interrupted.over()
        return claim

    async def _finish(self, claim: Claim) -> Claim | None:
        """Attempt a delivery and note how it ended; return the next one if it came with that."""
        # For all lines that are written meanwhile, wherever they are.
        with bound_contextvars(**claim.ids):
            try:
                return await self._handle(claim)
            except POSTGRES_ERRORS as error:
                self._interrupted.note(error)
            except Exception:
                # One delivery that surprises us must not end the sending of all others.
                log.exception("sender failed")
        # What was not noted goes to whoever takes over its lease; we must not find it as our own.
        self._owner = uuid.uuid4()
        await asyncio.sleep(DATABASE_PAUSE_SECONDS)
        return None

    async def _handle(self, claim: Claim) -> Claim | None:
        with self._tracing.following("send", claim.traceparent, "internal", about(claim.ids)):
            return await self._attempt_and_note(claim)

    async def _attempt_and_note(self, claim: Claim) -> Claim | None:
        lease_ends = _now() + self._lease.total_seconds()
        try:
            # Several people's is no mail yet: there is nothing that may have been sent.
            is_mail = not claim.recipient.startswith(ADMINISTRATORS)
            if is_mail and claim.taken_over and self._policy.unknown_outcome == "park":
                outcome = Outcome("given_up", "another sender began it and was not heard of again")
            else:
                outcome = await self._attempt(claim, self._mailer)
        except asyncio.CancelledError:
            if self._mailer.in_doubt:
                interrupted = Outcome("unknown", "stopped while waiting for the server's answer")
                await self._note_while_ending(self._note(claim, interrupted, lease_ends))
            raise
        note = asyncio.ensure_future(self._note(claim, outcome, lease_ends))
        try:
            return await asyncio.shield(note)
        except asyncio.CancelledError:
            await self._note_while_ending(note)
            raise

    async def _note_while_ending(self, note: Awaitable[Claim | None]) -> None:
        self._unnoted = True
        task = asyncio.ensure_future(note)
        done, _ = await asyncio.wait({task}, timeout=END_SECONDS)
        task.cancel()
        self._unnoted = not done or task.exception() is not None

    async def _note(self, claim: Claim, outcome: Outcome, lease_ends: float) -> Claim | None:
        """Write an outcome down, unless the lease has gone to another sender; return what is next.

        Raises what the database raises when it has not answered until the lease ended.
        """
        ATTEMPTS.labels(outcome.ending).inc()
        note({"oauthapps.outcome": outcome.ending, "oauthapps.attempt": claim.attempts})
        verdict = judge(
            outcome,
            attempts=claim.attempts,
            waited=claim.waited,
            policy=self._policy,
            chance=random.random(),  # noqa: S311 - not a secret
        )
        try:
            kept, following = await self._deliveries.settle_and_claim(claim, verdict, self._lease)
        except POSTGRES_ERRORS:
            kept, following = await self._note_again(claim, verdict, lease_ends)
        if not kept:
            LEASES_LOST.inc()
            log.warning("lease lost before the outcome was noted")
            return following
        if outcome.ending == "sent" and "happened_at" in claim.context:
            happened_at = datetime.fromisoformat(claim.context["happened_at"])
            MAIL_SECONDS.observe(max(0.0, (datetime.now(UTC) - happened_at).total_seconds()))
        log.info(
            "mail attempted",
            outcome=outcome.ending,
            state=verdict.state,
            attempt=claim.attempts,
            reason=verdict.reason,
        )
        return following

    async def _note_again(
        self, claim: Claim, verdict: Verdict, lease_ends: float
    ) -> tuple[bool, Claim | None]:
        """Find out whether it was noted although no answer came, and if not, note it.

        What was sent must be noted as sent, or it is sent again after the lease.
        """
        while True:
            await asyncio.sleep(DATABASE_PAUSE_SECONDS)
            try:
                # First this, which waits for a change of it that is still under way; the look at
                # what we hold comes after that change and sees what else it did.
                if await self._deliveries.settle(claim, verdict):
                    return True, None
                # It was, and so we may hold the next one.
                return True, await self._deliveries.held(self._owner, self._lease)
            except POSTGRES_ERRORS:
                if _now() > lease_ends:
                    raise

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._mailer.close()
                if not self._unnoted:
                    await self._deliveries.let_go(self._owner)
        except POSTGRES_ERRORS as error:
            # Then the lease runs out, and somebody else takes over.
            log.info("sender: a delivery was not given back", reason=reason_of(error))


def _now() -> float:
    return asyncio.get_running_loop().time()
