"""Which event is told to whom. Pure."""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from shared.events import (
    ApplicationActivated,
    ApplicationCreated,
    ApplicationDeactivated,
    ApplicationDeleted,
    ApplicationSecretRevoked,
    ApplicationSecretRotated,
    ApplicationUpdated,
    Event,
    TokensRevoked,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When an event of this type happens, its owner gets a mail made of this template."""

    name: str
    event_type: type[Event]
    template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One mail that an event asks for. `recipient` is a user's id, `context` the template's."""

    rule: str
    template: str
    recipient: str
    context: dict[str, str]


RULES: Sequence[Rule] = (
    Rule(name="application-created", event_type=ApplicationCreated, template="application_created"),
)


def notifications_for(event: Event, rules: Sequence[Rule]) -> list[Notification]:
    """Return the mails that an event asks for by these rules."""
    return [
        Notification(
            rule=rule.name,
            template=rule.template,
            recipient=event.owner_id,
            context=context_of(event),
        )
        for rule in rules
        if isinstance(event, rule.event_type)
    ]


def context_of(event: Event) -> dict[str, str]:
    """Return what a template may know of an event: public facts, each on one line."""
    context = {"application_name": one_line(event.name), "client_id": one_line(event.client_id)}
    match event:
        case ApplicationDeactivated():
            return {**context, "reason": event.reason}
        case (
            ApplicationCreated()
            | ApplicationUpdated()
            | ApplicationActivated()
            | ApplicationDeleted()
            | ApplicationSecretRotated()
            | ApplicationSecretRevoked()
            | TokensRevoked()
        ):
            return context
        case _:
            assert_never(event)


def one_line(text: str) -> str:
    """Return a text without control characters and line breaks: it cannot become a header."""
    kept = (" " if unicodedata.category(one) in {"Cc", "Cs"} else one for one in text)
    return " ".join("".join(kept).split())


def message_id_of(event_id: str, rule: str, recipient: str, *, domain: str) -> str:
    """Return the Message-ID of a notification: the same however often it is sent (RFC 5322)."""
    digest = hashlib.sha256(f"{event_id}\n{rule}\n{recipient}".encode()).hexdigest()
    return f"<{digest[:40]}@{domain}>"
