"""What every mail of ours has besides its content: whose list it is, and a signature."""

import secrets
import time
from email.message import EmailMessage

from services.notifier.dkim import Signer, signer_of
from shared.sections import Notifier


class Outgoing:
    """Makes of a rendered mail what goes over the wire. Raises ConfigurationError."""

    def __init__(self, settings: Notifier) -> None:
        domain = settings.sender_address.rpartition("@")[2]
        self._list_id = settings.list_id or f"notifications.{domain}"
        self._signer: Signer | None = signer_of(settings.dkim, settings.sender_address)

    def content_of(self, message: EmailMessage) -> bytes:
        """Return the mail with its line ends."""
        # RFC 2919: by it readers sort our mail, whatever its subject.
        message["List-Id"] = f"<{self._list_id}>"
        if message.is_multipart():
            # Quoted-printable never has `=_` (RFC 2045, section 6.7): no need to search the parts
            # for a boundary that is not in them.
            message.set_boundary(f"=_{secrets.token_hex(16)}")
        content = message.as_bytes()
        # A third of a millisecond: not worth a thread.
        return (
            content if self._signer is None else self._signer.signed(content, at=int(time.time()))
        )
