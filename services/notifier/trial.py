"""One real mail with sample data, to try templates and the mail server."""

import uuid
from datetime import UTC, datetime
from typing import Any

from msgspec import structs

from services.notifier import samples
from services.notifier.in_force import InForce
from services.notifier.library import CannotRender
from services.notifier.outgoing import Outgoing
from services.notifier.smtp import Mailer
from shared.config import Settings


async def send_sample(settings: Settings, *, to: str, template: str, locale: str) -> dict[str, Any]:
    """Return what the mail server has taken.

    Raises ConfigurationError, CannotRender, MailDeferred, MailRefused or OutcomeUnknown.
    """
    in_force = InForce(settings)
    renderer = in_force.renderer
    if template not in renderer.library.templates:
        there_are = ", ".join(renderer.library.templates)
        raise CannotRender(f"there is no template {template}; choose from: {there_are}")
    recipient = structs.replace(samples.reader(locale=locale), email=to)
    sender = settings.notifier
    message = renderer.render(
        template,
        in_force.sample_for(template),
        recipient,
        message_id=f"<{uuid.uuid4().hex}@{sender.message_id_domain}>",
        # Samples are of one day, and so is what they count from it.
        date=samples.MOMENT,
        names=samples.NAMES,
    )
    del message["Date"]
    message["Date"] = datetime.now(UTC)
    content = Outgoing(sender).content_of(message)
    mailer = Mailer(sender.smtp)
    try:
        await mailer.deliver(content, sender=sender.sender_address, recipient=to)
    finally:
        await mailer.close()
    return {
        "to": to,
        "subject": str(message["Subject"]),
        "template": template,
        "language": str(message["Content-Language"]),
        "message_id": str(message["Message-ID"]),
        "server": f"{sender.smtp.host}:{sender.smtp.port}",
    }
