"""One attempt: ask for the address, render, hand over; whatever happens is an outcome."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Protocol

from prometheus_client import Counter

from services.notifier.deliveries import Claim
from services.notifier.domain import ADDRESS, people_in
from services.notifier.library import CannotRender
from services.notifier.outcome import Outcome
from services.notifier.rendering import Renderer
from services.notifier.smtp import Mailer, MailServerUnavailable, OutcomeUnknown
from shared.failures import PermanentFailure, TransientFailure
from shared.feed_client import Recipient
from shared.logs import get_logger

log = get_logger(__name__)

RENDER_FAILURES = Counter(
    "oauthapps_notifier_render_failures_total",
    "Mails that could not be made and were parked, by template.",
    ["template"],
)


class Recipients(Protocol):
    """Who knows a person's present address."""

    async def recipient(self, user_id: str) -> Recipient | None:
        """Return the person, or None when there is no such user. Raises TransientFailure."""


class Attempt:
    """How a claimed delivery becomes a mail. `smtp_trouble`: why the last one did not, if so."""

    def __init__(
        self,
        recipients: Recipients,
        renderer: Renderer,
        *,
        sender_address: str,
        longest: timedelta,
    ) -> None:
        self._recipients = recipients
        self._renderer = renderer
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
        except OutcomeUnknown as failure:
            return Outcome("unknown", str(failure))
        except TransientFailure as failure:
            if isinstance(failure, MailServerUnavailable):
                self.smtp_trouble = str(failure)
            return Outcome("deferred", str(failure))
        except PermanentFailure as failure:
            return Outcome("refused", str(failure))
        except TimeoutError:
            reason = f"not sent within {self._longest.total_seconds():g} s, nearly the lease"
            return Outcome("unknown" if mailer.in_doubt else "deferred", reason)
        except Exception as error:
            log.exception("delivery failed", delivery=str(claim.id))
            return Outcome("deferred", f"unexpected {type(error).__name__}; see the log")

    async def _send(self, claim: Claim, mailer: Mailer) -> Outcome:
        recipient = await self._recipient(claim)
        if recipient is None:
            return Outcome("suppressed", "the user does not exist any more")
        if not recipient.active:
            return Outcome("suppressed", "the user is disabled")
        message = self._mail(claim, recipient, await self._names(claim, recipient))
        await mailer.deliver(message, sender=self._sender_address, recipient=recipient.email)
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
        names = {recipient.id: recipient.name}
        for user_id in people_in(claim.context) - names.keys():
            person = await self._recipients.recipient(user_id)
            if person is not None:
                names[user_id] = person.name
        return names

    def _mail(self, claim: Claim, recipient: Recipient, names: dict[str, str]) -> EmailMessage:
        try:
            return self._renderer.render(
                claim.template,
                claim.context,
                recipient,
                message_id=claim.message_id,
                date=datetime.now(UTC),
                names=names,
            )
        except CannotRender:
            RENDER_FAILURES.labels(claim.template).inc()
            raise
