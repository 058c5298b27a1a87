"""From a due delivery to a mail, over real SMTP and a real database."""

import uuid
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from services.notifier.attempt import Attempt
from services.notifier.deliveries import Claim, Deliveries, Filter
from services.notifier.outgoing import Outgoing
from services.notifier.smtp import Mailer
from shared.postgres import Pool
from tests.integration.notifier.house import (
    Directory,
    only,
    record,
    record_one,
    sending,
    settings,
    state,
)
from tests.support.eventually import eventually
from tests.support.smtp_server import Drop, SmtpServer
from tests.unit.notifier.factories import application_created, envelope, recipient, renderer


async def nobody(claim: Claim, organization_id: str) -> int:
    return 0


async def is_in(deliveries: Deliveries, wanted: str) -> bool:
    return await state(deliveries) == wanted


async def test_a_due_delivery_becomes_a_mail(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """The whole point."""
    await record_one(deliveries, name="Build server")
    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: is_in(deliveries, "sent"))

    (mail,) = mail_server.taken
    row = await only(deliveries)
    assert mail.recipients == ("ada@example.com",)
    assert mail.message["Message-ID"] == row["message_id"]
    assert "Build server" in mail.content.decode()
    assert row["finished_at"] is not None


async def test_a_waking_call_is_heard_before_the_next_poll(
    deliveries: Deliveries, mail_server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever just added an application expects the mail now."""
    monkeypatch.setattr("services.notifier.sender.POLL_SECONDS", 3600)
    async with sending(deliveries, Directory(), settings(mail_server)) as senders:
        await record_one(deliveries)
        senders.wake()
        await eventually(lambda: is_in(deliveries, "sent"))


async def test_many_senders_of_two_processes_send_each_mail_once(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """Replicas share the work, not the mails."""
    events = [envelope(position, application_created()) for position in range(1, 51)]
    await record(deliveries, *events)
    values, directory = settings(mail_server, senders=4), Directory()

    async def all_sent() -> bool:
        return {row["state"] for row in await deliveries.page(Filter(), 100)} == {"sent"}

    async with sending(deliveries, directory, values), sending(deliveries, directory, values):
        await eventually(all_sent)

    ids = [mail.message["Message-ID"] for mail in mail_server.taken]
    assert len(ids) == len(set(ids)) == 50
    assert mail_server.connections <= 8


async def test_4xx_is_tried_again_until_it_is_taken(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """Greylisting, a full disk, a busy server: all of it passes."""
    mail_server.answer("RCPT", "451 4.7.1 greylisted", times=2)
    await record_one(deliveries)
    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: is_in(deliveries, "sent"))

    assert (await only(deliveries))["attempts"] == 3
    assert len(mail_server.taken) == 1


async def test_5xx_is_parked_with_the_servers_words(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """And without the address, which is in no table of ours."""
    mail_server.answer("RCPT", "550 5.1.1 <ada@example.com> does not live here")
    await record_one(deliveries)
    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: is_in(deliveries, "parked"))

    row = await only(deliveries)
    assert row["last_error"] == "550 5.1.1 <[address]> does not live here"
    assert row["attempts"] == 1


async def test_a_mail_server_that_is_away_delays_and_is_reported(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """Nothing is lost meanwhile, and the operator can see why nothing goes out."""
    await mail_server.stop()
    await record_one(deliveries)
    async with sending(deliveries, Directory(), settings(mail_server)) as senders:
        trouble = await eventually(lambda: senders.smtp_trouble)
        assert "cannot be reached" in trouble
        await mail_server.start()
        await eventually(lambda: is_in(deliveries, "sent"))
        assert senders.smtp_trouble is None


async def test_what_is_deferred_for_too_long_is_parked(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """A mail about last week helps nobody."""
    mail_server.answer("RCPT", "451 4.0.0 no", times=1000)
    await record_one(deliveries)
    async with sending(deliveries, Directory(), settings(mail_server, give_up_after="100ms")):
        await eventually(lambda: is_in(deliveries, "parked"))

    assert (await only(deliveries))["last_error"] == "given up: 451 4.0.0 no"


async def test_no_answer_after_the_dot_is_sent_again_with_the_same_message_id(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """At least once; and mail programs can tell that it is one mail."""
    mail_server.drop(Drop.BEFORE_ANSWER)
    await record_one(deliveries)
    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: is_in(deliveries, "sent"))

    ids = [mail.message["Message-ID"] for mail in mail_server.taken]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert (await only(deliveries))["unknown_outcomes"] == 1


async def test_an_unknown_outcome_shows_as_such_while_it_waits(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """The operator may look into the server's log before we send it again."""
    mail_server.drop(Drop.BEFORE_ANSWER)
    await record_one(deliveries)
    values = settings(mail_server, retry_first="1h", retry_longest="2h")
    async with sending(deliveries, Directory(), values):
        await eventually(lambda: is_in(deliveries, "unknown"))

    assert len(mail_server.taken) == 1


async def test_an_unknown_outcome_is_parked_where_the_policy_says_so(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """For those who would rather look first."""
    mail_server.drop(Drop.BEFORE_ANSWER)
    await record_one(deliveries)
    values = settings(mail_server, unknown_outcome="park")
    async with sending(deliveries, Directory(), values):
        await eventually(lambda: is_in(deliveries, "parked"))

    assert len(mail_server.taken) == 1
    assert (await only(deliveries))["unknown_outcomes"] == 1


async def test_dropped_after_the_answer_is_sent_once(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """The 250 was there."""
    mail_server.drop(Drop.AFTER_ANSWER)
    await record_one(deliveries)
    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: is_in(deliveries, "sent"))

    assert len(mail_server.taken) == 1


async def test_an_owner_who_is_disabled_gets_no_mail(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """And the list says so."""
    await record_one(deliveries)
    directory = Directory(recipient(active=False))
    async with sending(deliveries, directory, settings(mail_server)):
        await eventually(lambda: is_in(deliveries, "suppressed"))

    assert (await only(deliveries))["last_error"] == "the user is disabled"
    assert mail_server.connections == 0


async def test_an_owner_who_is_gone_gets_no_mail(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """Likewise."""
    await record_one(deliveries)
    directory = Directory()
    directory.people.clear()
    async with sending(deliveries, directory, settings(mail_server)):
        await eventually(lambda: is_in(deliveries, "suppressed"))

    assert (await only(deliveries))["last_error"] == "the user does not exist any more"


async def test_a_registry_that_is_away_delays_the_mail(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """Nobody else knows the address."""
    directory = Directory()
    directory.reachable = False
    await record_one(deliveries)
    async with sending(deliveries, directory, settings(mail_server)):
        await eventually(lambda: _has_error(deliveries))
        directory.reachable = True
        await eventually(lambda: is_in(deliveries, "sent"))


async def _has_error(deliveries: Deliveries) -> bool:
    return (await only(deliveries))["last_error"] is not None


async def test_the_mail_goes_to_the_address_of_the_moment(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """Changed between the event and the mail: the new one."""
    await record_one(deliveries)
    directory = Directory(recipient(email="new@example.com"))
    async with sending(deliveries, directory, settings(mail_server)):
        await eventually(lambda: is_in(deliveries, "sent"))

    assert mail_server.taken[0].recipients == ("new@example.com",)


async def test_an_address_that_is_none_is_parked(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """And holds nobody else up."""
    await record_one(deliveries)
    directory = Directory(recipient(email="not an address"))
    async with sending(deliveries, directory, settings(mail_server)):
        await eventually(lambda: is_in(deliveries, "parked"))

    assert "not an address" not in (await only(deliveries))["last_error"]


async def test_a_mail_that_cannot_be_made_is_parked_and_counted(
    deliveries: Deliveries, mail_server: SmtpServer, pool: Pool
) -> None:
    """Its template was removed meanwhile; an alert on the counter brings somebody who looks."""
    before = rendering_failures()
    await record_one(deliveries)
    await pool.execute("UPDATE notifier.deliveries SET template = 'gone'")
    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: is_in(deliveries, "parked"))

    assert (await only(deliveries))["last_error"] == "there is no template gone"
    assert rendering_failures() == before + 1
    assert mail_server.connections == 0


def rendering_failures() -> float:
    name = "oauthapps_notifier_failures_total"
    return REGISTRY.get_sample_value(name, {"cause": "rendering"}) or 0.0


async def test_a_mail_of_the_version_before_is_sent_after_the_upgrade(
    deliveries: Deliveries, mail_server: SmtpServer, pool: Pool
) -> None:
    """It waited over the upgrade, and knows less than templates do today."""
    await record_one(deliveries)
    await pool.execute(
        """
        UPDATE notifier.deliveries
           SET context = jsonb_build_object('application_name', 'CI', 'client_id', 'c')
        """
    )
    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: is_in(deliveries, "sent"))

    (mail,) = mail_server.taken
    assert mail.message["Subject"] == "OAuth application added to your account"


async def test_no_address_is_stored(
    deliveries: Deliveries, mail_server: SmtpServer, pool: Pool
) -> None:
    """Who asks to be forgotten is forgotten in the registry alone."""
    mail_server.answer("DATA", "451 4.0.0 ada@example.com is busy")
    await record_one(deliveries)
    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: is_in(deliveries, "sent"))

    stored = await pool.fetchval("SELECT string_agg(d::text, '') FROM notifier.deliveries AS d")
    assert "ada@example.com" not in stored
    assert "Ada" not in stored


async def test_a_mail_interrupted_before_the_dot_is_due_at_once(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """A restart must not cost a lease's time."""
    await record_one(deliveries)
    directory = Directory()
    directory.reachable = False
    async with sending(deliveries, directory, settings(mail_server, retry_first="1ms")):
        await eventually(lambda: _has_error(deliveries))

    assert await state(deliveries) == "due"


async def test_a_mail_interrupted_after_the_dot_is_unknown(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """The service ends while the server thinks; the next one must know of the doubt."""
    mail_server.hold()
    await record_one(deliveries)
    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: mail_server.taken)

    row = await only(deliveries)
    assert (row["state"], row["unknown_outcomes"]) == ("unknown", 1)


async def test_a_lease_taken_over_is_parked_where_nothing_may_be_sent_twice(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """The dead sender may have got as far as the dot."""
    await record_one(deliveries)
    await deliveries.claim(uuid.uuid4(), timedelta(milliseconds=1))
    values = settings(mail_server, unknown_outcome="park")
    async with sending(deliveries, Directory(), values):
        await eventually(lambda: is_in(deliveries, "parked"))

    assert mail_server.taken == []


async def test_a_sender_that_outlives_its_lease_does_not_overwrite_the_heir(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """The lease bounds an attempt, so that the heir begins after the end of the first."""
    mail_server.hold()
    await record_one(deliveries)
    values = settings(mail_server, lease="300ms", smtp={"answer_timeout": "1h"})
    async with sending(deliveries, Directory(), values):
        await eventually(lambda: len(mail_server.taken) > 1)
        mail_server.release()
        await eventually(lambda: is_in(deliveries, "sent"))

    assert (await only(deliveries))["unknown_outcomes"] >= 1


async def test_senders_come_back_after_the_database_was_away(
    deliveries: Deliveries, mail_server: SmtpServer, pool: Pool
) -> None:
    """Connections are cut; the senders are not."""
    async with sending(deliveries, Directory(), settings(mail_server)):
        await pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await record_one(deliveries)
        await eventually(lambda: is_in(deliveries, "sent"))


async def test_doubt_about_one_mail_is_not_doubt_about_the_next(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """The second is given up before it gets to the mail server: it can be sent again in safety."""
    values = settings(mail_server)
    directory = Directory()
    attempt = Attempt(
        directory,
        renderer(),
        Outgoing(values),
        expand=nobody,
        sender_address=values.sender_address,
        longest=timedelta(seconds=0.3),
    )
    mailer = Mailer(values.smtp)
    await record_one(deliveries)
    claim = await deliveries.claim(uuid.uuid4(), timedelta(seconds=20))
    assert claim is not None
    mail_server.hold()
    assert (await attempt(claim, mailer)).ending == "unknown"

    directory.hangs = True
    assert (await attempt(claim, mailer)).ending == "deferred"
    mail_server.release()
