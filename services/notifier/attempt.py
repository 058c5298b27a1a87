"""One attempt: ask for the address, render, hand over; whatever happens is an outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from prometheus_client import Counter

from services.notifier.deliveries import Claim
from services.notifier.domain import ADDRESS, ADMINISTRATORS, is_moot, people_in
from services.notifier.library import CannotRender
from services.notifier.outcome import Outcome
from services.notifier.outgoing import Outgoing
from services.notifier.rendering import Renderer
from services.notifier.smtp import (
    MailDeferred,
    Mailer,
    MailRefused,
    MailServerUnavailable,
    OutcomeUnknown,
)
from shared.failures import PermanentFailure, TransientFailure
from shared.feed_client import Recipient
from shared.logs import get_logger
from shared.tracing import part

log = get_logger(__name__)

FAILURES = Counter(
    "oauthapps_notifier_failures_total",
    "Attempts that sent no mail, by what was to blame.",
    ["cause"],
)
# The first that an exception is one of.
_CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (OutcomeUnknown, "no_answer"),
    (MailServerUnavailable, "mail_server"),
    (MailDeferred, "mail_deferred"),
    (MailRefused, "mail_refused"),
    (CannotRender, "rendering"),
    (TransientFailure, "registry"),
    (TimeoutError, "too_slow"),
)
for _, _cause in _CAUSES:
    FAILURES.labels(_cause)


class Recipients(Protocol):
    """Who knows a person's present address."""

    async def recipient(self, user_id: str) -> Recipient | None:
        """Return the person, or None when there is no such user. Raises TransientFailure."""


Expand = Callable[[Claim, str], Awaitable[int]]
"""Record a delivery for each administrator of an organization, and return how many there are."""


class Attempt:
    """How a claimed delivery becomes a mail. `smtp_trouble`: why the last one did not, if so."""

    def __init__(
        self,
        recipients: Recipients,
        renderer: Renderer,
        outgoing: Outgoing,
        *,
        expand: Expand,
        sender_address: str,
        longest: timedelta,
    ) -> None:
        self._recipients = recipients
        self._renderer = renderer
        self._outgoing = outgoing
        self._expand = expand
        self._sender_address = sender_address
        self._longest = longest
        self.smtp_trouble: str | None = None

    async def __call__(self, claim: Claim, mailer: Mailer) -> Outcome:
        """Return how it ended. Cancelled, it leaves in `mailer.in_doubt` whether it may be sent."""
        # The doubt about another mail, before this one has got as far as the mail server.
        mailer.in_doubt = False
        try:
            async with asyncio.timeout(self._longest.total_seconds()):
                return await self._send(claim, mailer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the delivery has to go on
            FAILURES.labels(_cause_of(error)).inc()
            return self._outcome_of(error, mailer)

    def _outcome_of(self, error: Exception, mailer: Mailer) -> Outcome:
        match error:
            case OutcomeUnknown():
                return Outcome("unknown", str(error))
            case TransientFailure():
                if isinstance(error, MailServerUnavailable):
                    self.smtp_trouble = str(error)
                return Outcome("deferred", str(error))
            case PermanentFailure():
                return Outcome("refused", str(error))
            case TimeoutError():
                reason = f"not sent within {self._longest.total_seconds():g} s, nearly the lease"
                return Outcome("unknown" if mailer.in_doubt else "deferred", reason)
            case _:
                log.error("delivery failed", exc_info=error)
                return Outcome("deferred", f"unexpected {type(error).__name__}; see the log")

    async def _send(self, claim: Claim, mailer: Mailer) -> Outcome:
        if is_moot(claim.event_type, claim.context, datetime.now(UTC)):
            return Outcome("suppressed", "what it warns of has happened")
        if claim.recipient.startswith(ADMINISTRATORS):
            count = await self._expand(claim, claim.recipient.removeprefix(ADMINISTRATORS))
            return Outcome("expanded", f"told to {count} administrators")
        recipient = await self._recipient(claim)
        if recipient is None:
            return Outcome("suppressed", "the user does not exist any more")
        if not recipient.active:
            return Outcome("suppressed", "the user is disabled")
        names = await self._names(claim, recipient)
        # Before the mail server is asked: what cannot be written must not cost a connection.
        with part("render", attributes={"oauthapps.template": claim.template}):
            message = self._renderer.render(
                claim.template,
                claim.context,
                recipient,
                message_id=claim.message_id,
                date=datetime.now(UTC),
                names=names,
            )
            content = self._outgoing.content_of(message)
        with part("deliver", "client"):
            await mailer.deliver(content, sender=self._sender_address, recipient=recipient.email)
        self.smtp_trouble = None
        return Outcome("sent")

    async def _recipient(self, claim: Claim) -> Recipient | None:
        if not claim.recipient.startswith(ADDRESS):
            return await self._recipients.recipient(claim.recipient)
        address = claim.recipient.removeprefix(ADDRESS)
        locale = claim.context.get("locale", "en")
        return Recipient(id=claim.recipient, email=address, name="", locale=locale, active=True)

    async def _names(self, claim: Claim, recipient: Recipient) -> dict[str, str]:
        """Return the names of those whom the mail may name; who is gone has none."""
        others = sorted(people_in(claim.context) - {recipient.id})
        # At once: the registry is asked for all of them together.
        found = await asyncio.gather(*(self._recipients.recipient(one) for one in others))
        return {one.id: one.name for one in (recipient, *found) if one is not None}


def _cause_of(error: Exception) -> str:
    return next((cause for kind, cause in _CAUSES if isinstance(error, kind)), "unexpected")
