"""What is told to whom. Pure.

Mail is about events of the log, and about notices: facts that time brings and that nobody appends,
such as a secret that expires soon. Both are occurrences, and rules do not tell them apart. No rule
can set off another one: a mail is no event, and nothing that sends one writes to the log.
"""

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, assert_never, get_args

from shared.events import (
    EVENT_TYPES,
    ApplicationActivated,
    ApplicationCreated,
    ApplicationDeactivated,
    ApplicationDeleted,
    ApplicationEvent,
    ApplicationSecretRevoked,
    ApplicationSecretRotated,
    ApplicationUpdated,
    DeactivationReason,
    Event,
    TokensRevoked,
)

USER = "user:"
# Recipients that are no user's id: whoever administers an organization, and an address by itself.
ADMINISTRATORS = "administrators:"
ADDRESS = "mailto:"
# What a rule may call its recipients; everything else is an address.
ROLES = ("owner", "actor", "administrators")

ActorCondition = Literal["any", "owner", "not_owner"]
# A template's data, as it is kept: texts, of which some are ISO 8601 moments. No name of a person
# and no e-mail address is among them; those are asked for when the mail is sent.
Context = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretExpiring(ApplicationEvent):
    """A secret ends soon; or, without a `secret_id`, the application itself.

    `days_before` is how many days before the end a rule wanted to hear of it.
    """

    secret_id: str | None
    hint: str
    expires_at: datetime
    days_before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstUseFromAddress(ApplicationEvent):
    """An application obtained a token from an address that it had not used before.

    `address` is an IPv4 address, or the /64 of an IPv6 address.
    """

    address: str


Notice = SecretExpiring | FirstUseFromAddress
Fact = Event | Notice

NOTICE_TYPES: dict[str, type[Fact]] = {one.__name__: one for one in get_args(Notice)}
FACT_TYPES: dict[str, type[Fact]] = {**EVENT_TYPES, **NOTICE_TYPES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """Something that a rule can be about. A notice has no place in the log: its position is 0.

    `stream` is the application. `actor` is as in the log: `user:<id>`, `cli:<account>` …
    `traceparent` is the place where what follows from it is told, if that is traced.
    """

    id: str
    type: str
    position: int
    stream: str
    time: datetime
    actor: str
    fact: Fact
    correlation_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When this happens, and the conditions hold, these recipients get a mail of this template.

    No organizations and no reasons are all of them. `locale` is that of recipients who are nothing
    but an address.
    """

    name: str
    about: type[Fact]
    template: str
    recipients: tuple[str, ...]
    enabled: bool = True
    organizations: frozenset[str] = frozenset()
    actor: ActorCondition = "any"
    reasons: frozenset[DeactivationReason] = frozenset()
    days_before: frozenset[int] = frozenset()
    locale: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One mail that is asked for.

    `recipient` is a user's id, `administrators:<organization's id>` or `mailto:<address>`.
    """

    rule: str
    template: str
    recipient: str
    context: Context


def notifications_for(occurrence: Occurrence, rules: Sequence[Rule]) -> list[Notification]:
    """Return the mails that an occurrence asks for by these rules."""
    asked = []
    for rule in rules:
        if not applies(rule, occurrence):
            continue
        context = context_of(occurrence)
        # Whoever is owner and actor is told once.
        for recipient in dict.fromkeys(_recipients(rule, occurrence)):
            of_address = {"locale": rule.locale} if recipient.startswith(ADDRESS) else {}
            asked.append(
                Notification(
                    rule=rule.name,
                    template=rule.template,
                    recipient=recipient,
                    context={**context, **of_address},
                )
            )
    return asked


def applies(rule: Rule, occurrence: Occurrence) -> bool:
    """Tell whether a rule is on, and its conditions hold."""
    fact = occurrence.fact
    if not rule.enabled or not isinstance(fact, rule.about):
        return False
    if rule.organizations and fact.organization_id not in rule.organizations:
        return False
    is_owner = occurrence.actor == USER + fact.owner_id
    if rule.actor != "any" and is_owner != (rule.actor == "owner"):
        return False
    if isinstance(fact, ApplicationDeactivated) and rule.reasons:
        return fact.reason in rule.reasons
    if isinstance(fact, SecretExpiring):
        return fact.days_before in rule.days_before
    return True


def _recipients(rule: Rule, occurrence: Occurrence) -> Iterator[str]:
    fact = occurrence.fact
    for one in rule.recipients:
        match one:
            case "owner":
                yield fact.owner_id
            case "actor":
                # A command line or a service reads no mail.
                if occurrence.actor.startswith(USER):
                    yield occurrence.actor.removeprefix(USER)
            case "administrators":
                yield ADMINISTRATORS + fact.organization_id
            case _:
                yield ADDRESS + one


def context_of(occurrence: Occurrence) -> Context:
    """Return what is kept for the template: public facts, each on one line, and identifiers."""
    fact = occurrence.fact
    context = {
        "application_name": one_line(fact.name),
        "client_id": one_line(fact.client_id),
        "application_id": fact.application_id,
        "owner": fact.owner_id,
        "actor": occurrence.actor,
        "happened_at": occurrence.time.isoformat(),
    }
    return {**context, **_details(fact, occurrence.time)}


def _details(fact: Fact, time: datetime) -> Context:
    match fact:
        case ApplicationCreated():
            return {"active": _truth(fact.active), "expires_at": _moment(fact.expires_at)}
        case ApplicationUpdated():
            return {"changed": " ".join(fact.changed), "expires_at": _moment(fact.expires_at)}
        case ApplicationDeactivated():
            return {"reason": fact.reason}
        case ApplicationSecretRotated():
            # Without an overlap the others have ended already.
            others = fact.others_expire_at if fact.others_expire_at > time else None
            return {"secret_hint": one_line(fact.secret.hint), "others_expire_at": _moment(others)}
        case TokensRevoked():
            return {"single_token": _truth(fact.jti is not None)}
        case SecretExpiring():
            return {"secret_hint": one_line(fact.hint), "expires_at": _moment(fact.expires_at)}
        case FirstUseFromAddress():
            return {"address": one_line(fact.address)}
        case ApplicationDeleted():
            # Its page is gone.
            return {"application_id": ""}
        case ApplicationActivated() | ApplicationSecretRevoked():
            return {}
        case _:
            assert_never(fact)


def as_of_today(context: Context, *, recipient: str, time: datetime) -> Context:
    """Return what was recorded by the version that knew nothing but an application's name.

    All of it was about new applications, and for their owners.
    """
    if "happened_at" in context:
        return context
    return {
        "application_id": "",
        "owner": recipient,
        "actor": "",
        "happened_at": time.isoformat(),
        "active": _truth(True),
        "expires_at": "",
        **context,
    }


def is_moot(event_type: str, context: Context, now: datetime) -> bool:
    """Tell whether a warning has come to nothing: what it warns of has happened."""
    # Without words where its reader was erased, which is for the registry to say.
    if event_type != SecretExpiring.__name__ or "expires_at" not in context:
        return False
    return datetime.fromisoformat(context["expires_at"]) <= now


def people_in(context: Context) -> frozenset[str]:
    """Return the ids of the users whom a mail may name."""
    actor = context.get("actor", "")
    acting = {actor.removeprefix(USER)} if actor.startswith(USER) else set()
    return frozenset(acting | {context["owner"]} if "owner" in context else acting)


def _moment(time: datetime | None) -> str:
    return "" if time is None else time.isoformat()


def _truth(is_so: bool) -> str:  # noqa: FBT001 - reads as a sentence
    return "yes" if is_so else ""


def one_line(text: str) -> str:
    """Return a text without control characters and line breaks: it cannot become a header."""
    kept = (" " if unicodedata.category(one) in {"Cc", "Cs"} else one for one in text)
    return " ".join("".join(kept).split())


def message_id_of(event_id: str, rule: str, recipient: str, *, domain: str) -> str:
    """Return the Message-ID of a notification: the same however often it is sent (RFC 5322)."""
    digest = hashlib.sha256(f"{event_id}\n{rule}\n{recipient}".encode()).hexdigest()
    return f"<{digest[:40]}@{domain}>"
