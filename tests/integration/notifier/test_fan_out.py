"""Recipients that are not one user: the administrators of an organization, and addresses."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

from services.notifier.deliveries import Deliveries, Filter
from services.notifier.domain import notifications_for
from services.notifier.intake import occurrence_of
from shared.subscription import Cursor
from tests.integration.notifier.house import DOMAIN, EPOCH, Directory, record, sending, settings
from tests.support.eventually import eventually
from tests.support.smtp_server import SmtpServer
from tests.unit.notifier.factories import OWNER, RULES, application_created, envelope, recipient

PLACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LEASE = timedelta(minutes=15)
GRACE, ALAN = (str(uuid.UUID(int=n)) for n in (1, 2))


async def record_for(deliveries: Deliveries, *recipients: str, locale: str = "en") -> str:
    """Record what a rule with these recipients asks for; return the organization's id."""
    happened = envelope(1, application_created(name="CI"))
    rule = replace(RULES[0], recipients=recipients, locale=locale)
    await record(deliveries, happened, rules=[rule])
    return happened.event.organization_id


async def rows(deliveries: Deliveries) -> dict[str, dict[str, Any]]:
    return {row["recipient"].partition(":")[0]: row for row in await deliveries.page(Filter(), 10)}


def directory(organization: str, *administrators: str) -> Directory:
    people = Directory(
        recipient(),
        recipient(user_id=GRACE, email="grace@example.com", name="Grace", locale="de"),
        recipient(user_id=ALAN, email="alan@example.com", name="Alan"),
    )
    people.administering[organization] = administrators
    return people


async def test_every_administrator_gets_a_mail_of_their_own(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """In their language; and whoever is the owner, too, gets one."""
    organization = await record_for(deliveries, "owner", "administrators")
    people = directory(organization, GRACE, ALAN, OWNER)
    async with sending(deliveries, people, settings(mail_server)):
        await eventually(lambda: len(mail_server.taken) == 3)
        await eventually(lambda: _is_expanded(deliveries))

    to = {mail.recipients[0]: mail.message for mail in mail_server.taken}
    assert to.keys() == {"ada@example.com", "grace@example.com", "alan@example.com"}
    assert to["ada@example.com"]["Subject"] == "OAuth application added to your account"
    assert to["alan@example.com"]["Subject"] == "OAuth application added: CI"
    assert to["grace@example.com"]["Subject"] == "OAuth-Anwendung hinzugefügt: CI"
    assert len({message["Message-ID"] for message in to.values()}) == 3
    assert "    Owner: Ada\n" in to["alan@example.com"].as_bytes().decode()


async def test_each_of_them_belongs_to_what_happened(deliveries: Deliveries) -> None:
    """All mails about one event are found by the request that it followed from."""
    happened = envelope(1, application_created())
    metadata = replace(happened.metadata, correlation_id="req-1")
    rule = replace(RULES[0], recipients=("administrators",))
    one = occurrence_of(replace(happened, metadata=metadata), PLACE)
    await deliveries.record(
        [(one, told) for told in notifications_for(one, [rule])],
        Cursor(EPOCH, 1),
        oldest=one.time,
        message_id_domain=DOMAIN,
    )
    claim = await deliveries.claim(uuid.uuid4(), LEASE)
    assert claim is not None
    await deliveries.fan_out(claim, [GRACE], message_id_domain=DOMAIN)
    grace = await deliveries.claim(uuid.uuid4(), LEASE)
    assert grace is not None

    for found in (claim, grace):
        assert (found.correlation_id, found.event_id, found.traceparent) == ("req-1", one.id, PLACE)
        assert found.ids == {
            "delivery": str(found.id),
            "causation_id": one.id,
            "correlation_id": "req-1",
        }


async def _is_expanded(deliveries: Deliveries) -> bool:
    row = (await rows(deliveries))["administrators"]
    return bool(row["state"] == "expanded" and row["finished_at"])


async def test_an_organization_without_administrators_is_told_to_nobody(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """And the list says so."""
    organization = await record_for(deliveries, "administrators")
    async with sending(deliveries, directory(organization), settings(mail_server)):
        await eventually(lambda: _is_expanded(deliveries))

    (row,) = (await rows(deliveries)).values()
    assert row["last_error"] == "told to 0 administrators"
    assert mail_server.connections == 0


async def test_a_registry_that_is_away_delays_the_question(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """Nobody else knows who administers."""
    people = directory(await record_for(deliveries, "administrators"), GRACE)
    people.reachable = False
    async with sending(deliveries, people, settings(mail_server)):
        await eventually(lambda: _has_failed(deliveries))
        people.reachable = True
        await eventually(lambda: len(mail_server.taken) == 1)


async def _has_failed(deliveries: Deliveries) -> bool:
    return (await rows(deliveries))["administrators"]["last_error"] is not None


async def test_asked_again_after_a_crash_adds_whoever_is_missing(deliveries: Deliveries) -> None:
    """The people were recorded, and the process ended before it noted that."""
    await record_for(deliveries, "administrators")
    claim = await deliveries.claim(uuid.uuid4(), LEASE)
    assert claim is not None
    await deliveries.fan_out(claim, [GRACE], message_id_domain=DOMAIN)
    await deliveries.fan_out(claim, [GRACE, ALAN], message_id_domain=DOMAIN)

    found = await deliveries.page(Filter(), 10)
    assert sorted(row["recipient"] for row in found if row["state"] == "due") == [GRACE, ALAN]
    assert {row["event_id"] for row in found} == {found[0]["event_id"]}
    assert {row["application_id"] for row in found} == {found[0]["application_id"]}


async def test_an_address_gets_its_mail_in_the_language_of_the_rule(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """The registry knows nothing of it."""
    await record_for(deliveries, "ops@example.com", locale="fr")
    people = Directory(recipient())
    async with sending(deliveries, people, settings(mail_server)):
        await eventually(lambda: len(mail_server.taken) == 1)

    (mail,) = mail_server.taken
    assert mail.recipients == ("ops@example.com",)
    assert mail.message["To"] == "ops@example.com"
    assert mail.message["Content-Language"] == "fr"


async def test_an_administrator_who_acts_is_named(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """The owner reads who it was; the name is asked for, not kept."""
    happened = envelope(1, application_created())
    happened = replace(happened, metadata=replace(happened.metadata, actor=f"user:{GRACE}"))
    await record(deliveries, happened)
    people = directory(happened.event.organization_id)
    async with sending(deliveries, people, settings(mail_server)):
        await eventually(lambda: len(mail_server.taken) == 2)

    to = {mail.recipients[0]: mail.content.decode() for mail in mail_server.taken}
    assert "    By: Grace\r\n" in to["ada@example.com"]
    assert "    Durch: Sie\r\n" in to["grace@example.com"]
    assert all("Grace" not in str(row["context"]) for row in await deliveries.page(Filter(), 10))
