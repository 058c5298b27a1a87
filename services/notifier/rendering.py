"""From a notification to a mail: subject, text and HTML of equal content."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any

from jinja2 import PackageLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from services.notifier.domain import context_of, one_line
from services.notifier.headers import WIRE
from shared.events import ApplicationCreated, SecretFacts
from shared.failures import PermanentFailure
from shared.feed_client import Recipient

# The languages that templates are written in; the first is for everybody else.
LANGUAGES = ("en",)
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_SOMEBODY = Recipient(
    id="sample", email="sample@example.com", name="Sample", locale="en", active=True
)
# What each template is tried out with, before the first mail is sent.
_SAMPLES = {
    "application_created": context_of(
        ApplicationCreated(
            application_id="sample",
            client_id="sample",
            organization_id="sample",
            owner_id="sample",
            name="Sample",
            secret=SecretFacts(id="sample", hint="0000", created_at=_LONG_AGO),
        )
    )
}


class CannotRender(PermanentFailure):
    """Template, sender or recipient do not make a mail."""


class Renderer:
    """The templates. Raises CannotRender at once for one that does not work with its sample."""

    def __init__(self, *, sender_name: str, sender_address: str, registry_url: str) -> None:
        self._sender_name = one_line(sender_name)
        self._sender_address = sender_address
        self._registry_url = registry_url
        self._environment = ImmutableSandboxedEnvironment(
            loader=PackageLoader("services.notifier"),
            undefined=StrictUndefined,
            autoescape=lambda name: name is not None and name.endswith(".html"),
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
        )
        for template, context in _SAMPLES.items():
            self.render(template, context, _SOMEBODY, message_id="<a@b>", date=_LONG_AGO)

    def render(
        self,
        template: str,
        context: Mapping[str, str],
        recipient: Recipient,
        *,
        message_id: str,
        date: datetime,
    ) -> EmailMessage:
        """Return the mail. Raises CannotRender."""
        name = one_line(recipient.name)
        language = language_for(recipient.locale)
        values: dict[str, Any] = {
            **context,
            "recipient_name": name,
            "sender_name": self._sender_name,
            "registry_url": self._registry_url,
            "language": language,
        }
        # One line, whatever the values hold: nothing can become a second header.
        subject = one_line(self._part(template, "subject.txt", values))
        values["subject"] = subject
        text = self._part(template, "body.txt", values)
        html = self._part(template, "body.html", values)
        message = EmailMessage(policy=WIRE)
        message["From"] = _address(self._sender_name, self._sender_address, of="sender")
        message["To"] = _address(name, recipient.email, of="recipient")
        message["Subject"] = subject
        message["Date"] = date
        message["Message-ID"] = message_id
        # RFC 3834: nobody's vacation shall answer.
        message["Auto-Submitted"] = "auto-generated"
        # Seven bits: taken by every server, 8BITMIME or not.
        message.set_content(text, cte="quoted-printable")
        message.add_alternative(html, subtype="html", cte="quoted-printable")
        # Of both parts; set before them, it would go into the first.
        message["Content-Language"] = language
        return message

    def _part(self, template: str, part: str, values: Mapping[str, Any]) -> str:
        place = f"template {template}/{part}"
        try:
            return self._environment.get_template(f"{template}/{part}").render(values)
        except TemplateError as error:
            # It names variables and lines, never a value.
            message = f"{place}: {type(error).__name__}: {error.message}"
            raise CannotRender(message) from None
        except Exception as error:  # noqa: BLE001 - an expression may raise whatever Python raises
            message = f"{place}: {type(error).__name__}"
            raise CannotRender(message) from None


def language_for(locale: str) -> str:
    """Return the language a mail to this reader is written in: `de_AT` → `de`, else the first."""
    language = locale.replace("-", "_").partition("_")[0].lower()
    return language if language in LANGUAGES else LANGUAGES[0]


def _address(name: str, address: str, *, of: str) -> Address:
    if not address.isascii():
        # It would need SMTPUTF8 (RFC 6531) on every server of the way.
        message = f"the address of the {of} holds characters beyond ASCII"
        raise CannotRender(message)
    try:
        return Address(name, addr_spec=address)
    except (ValueError, IndexError, MessageError):
        message = f"the address of the {of} is not an e-mail address"
        raise CannotRender(message) from None
