"""From a notification to a mail: subject, text and HTML of equal content."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from itertools import product
from typing import Any, Literal

from services.notifier import samples
from services.notifier.domain import USER, Context, Fact, Rule, as_of_today, one_line
from services.notifier.headers import WIRE
from services.notifier.library import CannotRender, Library, tag_of
from services.notifier.template_files import TemplateRefused
from services.notifier.wording import wording_locale
from shared.feed_client import Recipient

# Identifiers that a mail is made with and that mean nothing to its reader.
_KEPT_BACK = frozenset({"owner", "actor", "application_id", "locale"})
# What every template knows, beside what its event says; docs/mail.md explains each.
_ALWAYS = frozenset(
    {
        "application_url",
        "recipient_name",
        "recipient_is_owner",
        "owner_name",
        "actor",
        "actor_name",
        "sender_name",
        "registry_url",
        "language",
        "locale",
        "time_zone",
        "subject",
        "days_left",
    }
)
VARIABLES = frozenset(samples.EVERYTHING) - _KEPT_BACK | _ALWAYS
Part = Literal["subject", "text", "html"]
_DAY = timedelta(days=1)
_NOBODY: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterhead:
    """Who writes, and about which registry."""

    sender_name: str
    sender_address: str
    registry_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A mail's words, and the locales of the files that they come from."""

    subject: str
    text: str
    html: str
    locales: tuple[str, ...]


class Renderer:
    """Makes mails out of templates, which can be replaced while it is at work."""

    def __init__(self, library: Library, letterhead: Letterhead) -> None:
        self.library = library
        self._letterhead = letterhead

    def render(
        self,
        template: str,
        context: Context,
        recipient: Recipient,
        *,
        message_id: str,
        date: datetime,
        names: Mapping[str, str] = _NOBODY,
    ) -> EmailMessage:
        """Return the mail; `names` are those of the people it may name. Raises CannotRender."""
        parts = self.parts(template, context, recipient, date=date, names=names)
        sender = self._letterhead
        message = EmailMessage(policy=WIRE)
        message["From"] = _address(sender.sender_name, sender.sender_address, of="sender")
        message["To"] = _address(recipient.name, recipient.email, of="recipient")
        message["Subject"] = parts.subject
        message["Date"] = date
        message["Message-ID"] = message_id
        # RFC 3834: nobody's vacation shall answer.
        message["Auto-Submitted"] = "auto-generated"
        # Seven bits: taken by every server, 8BITMIME or not.
        message.set_content(parts.text, cte="quoted-printable")
        message.add_alternative(parts.html, subtype="html", cte="quoted-printable")
        # Of both parts; set before them, it would go into the first.
        message["Content-Language"] = ", ".join(map(tag_of, parts.locales))
        return message

    def parts(
        self,
        template: str,
        context: Context,
        recipient: Recipient,
        *,
        date: datetime,
        names: Mapping[str, str] = _NOBODY,
    ) -> Parts:
        """Return the words of a mail. Raises CannotRender."""
        context = as_of_today(context, recipient=recipient.id, time=date)
        values = self._values(context, recipient, date, names)
        locale = recipient.locale
        subject = self.library.render(template, "subject.txt", locale, values)
        # One line, whatever the values hold: nothing can become a second header.
        values["subject"] = one_line(subject.text)
        text = self.library.render(template, "body.txt", locale, values)
        html = self.library.render(template, "body.html", locale, values)
        return Parts(
            subject=values["subject"],
            text=text.text,
            html=html.text,
            locales=tuple(dict.fromkeys((text.locale, html.locale))),
        )

    def _values(
        self, context: Context, recipient: Recipient, date: datetime, names: Mapping[str, str]
    ) -> dict[str, Any]:
        head = self._letterhead
        application_id = context["application_id"]
        owner, actor = context["owner"], context["actor"]
        actor_name = one_line(names.get(actor.removeprefix(USER), ""))
        values: dict[str, Any] = {
            **{name: value for name, value in context.items() if name not in _KEPT_BACK},
            "application_url": f"{head.registry_url}/applications/{application_id}"
            if application_id
            else "",
            "recipient_name": one_line(recipient.name),
            "recipient_is_owner": recipient.id == owner,
            "owner_name": one_line(names.get(owner, "")),
            "actor": _kind_of(actor, recipient, is_named=bool(actor_name)),
            "actor_name": actor_name,
            "sender_name": one_line(head.sender_name),
            "registry_url": head.registry_url,
            "locale": wording_locale(recipient.locale, self.library.locale_for(recipient.locale)),
            "time_zone": recipient.time_zone,
        }
        if context.get("expires_at"):
            left = datetime.fromisoformat(context["expires_at"]) - date
            values["days_left"] = max(0, math.ceil(left / _DAY))
        return values


def _kind_of(actor: str, recipient: Recipient, *, is_named: bool) -> str:
    """Return who acted, as a template tells it: you, person, administrator or system."""
    if actor == USER + recipient.id:
        return "you"
    if actor.startswith("service:") or not actor:
        return "system"
    return "person" if is_named else "administrator"


def try_out(renderer: Renderer, rules: Iterable[Rule]) -> None:
    """Render every template for all that can happen to it. Raises TemplateRefused.

    In every locale, for an owner and for somebody else, with each event that a rule has it for;
    a template that no rule names, with a sample that has every variable.
    """
    about: dict[str, list[type[Fact]]] = {one: [] for one in renderer.library.templates}
    for rule in rules:
        about[rule.template].append(rule.about)
    readers = [
        samples.reader(locale=locale, is_owner=is_owner)
        for locale in renderer.library.locales
        for is_owner in (True, False)
    ]
    for template, facts in about.items():
        for context, reader in product(samples.contexts_for(facts), readers):
            try:
                renderer.parts(template, context, reader, date=samples.MOMENT, names=samples.NAMES)
            except CannotRender as error:
                told = ", ".join(sorted({one.__name__ for one in facts}))
                message = f"{error} (tried with {told})" if told else str(error)
                raise TemplateRefused(message) from None


def require_sender(letterhead: Letterhead) -> None:
    """Raise CannotRender unless mail can come from this sender."""
    _address(letterhead.sender_name, letterhead.sender_address, of="sender")


def _address(name: str, address: str, *, of: str) -> Address:
    if not address.isascii():
        # It would need SMTPUTF8 (RFC 6531) on every server of the way.
        message = f"the address of the {of} holds characters beyond ASCII"
        raise CannotRender(message)
    try:
        return Address(one_line(name), addr_spec=address)
    except (ValueError, IndexError, MessageError):
        message = f"the address of the {of} is not an e-mail address"
        raise CannotRender(message) from None
