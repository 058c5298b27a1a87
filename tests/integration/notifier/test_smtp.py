"""Handing mail over, with every way it can go wrong."""

import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import pytest
import pytest_asyncio

from services.notifier.smtp import (
    MailDeferred,
    Mailer,
    MailRefused,
    MailServerUnavailable,
    OutcomeUnknown,
)
from shared.config import Smtp
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.smtp_server import Drop, SmtpServer
from tests.support.tcp_proxy import TcpProxy

SENDER, READER = "oauthapps@example.com", "ada@example.com"


def mail(text: str = "Hello\n") -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["Subject"] = "A subject"
    message.set_content(text)
    return message


def mailer_for(port: int, **values: Any) -> Mailer:
    return Mailer(Smtp.model_validate({"port": port, "timeout": 5, "answer_timeout": 5, **values}))


async def deliver(mailer: Mailer, text: str = "Hello\n") -> None:
    await mailer.deliver(mail(text), sender=SENDER, recipient=READER)


@pytest_asyncio.fixture
async def mailer(mail_server: SmtpServer) -> AsyncIterator[Mailer]:
    """A connection to the test's mail server."""
    mailer = mailer_for(mail_server.port)
    yield mailer
    await mailer.close()


async def test_one_connection_carries_one_mail_after_the_other(
    mail_server: SmtpServer, mailer: Mailer
) -> None:
    """Connecting costs more than the mail."""
    for _ in range(3):
        await deliver(mailer)

    assert len(mail_server.taken) == 3
    assert mail_server.connections == 1
    assert mail_server.taken[0].sender == SENDER
    assert mail_server.taken[0].recipients == (READER,)


async def test_a_line_with_a_dot_does_not_end_the_mail(
    mail_server: SmtpServer, mailer: Mailer
) -> None:
    """A lone dot ends the mail in SMTP; in a text it is only a dot."""
    await deliver(mailer, "one\n.\n..two\n.three\n")

    (taken,) = mail_server.taken
    assert taken.message.get_content().splitlines() == ["one", ".", "..two", ".three"]


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
async def test_4xx_defers(mail_server: SmtpServer, mailer: Mailer, step: Any) -> None:
    """The server says: later."""
    mail_server.answer(step, f"451 4.3.0 not now {READER}")

    with pytest.raises(MailDeferred, match="451") as deferred:
        await deliver(mailer)

    assert READER not in str(deferred.value)


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
async def test_5xx_refuses_in_the_servers_words_without_the_address(
    mail_server: SmtpServer, mailer: Mailer, step: Any
) -> None:
    """The operator reads why; the address is nobody's business."""
    mail_server.answer(step, f"550 5.1.1 <{READER}> unknown here")

    with pytest.raises(MailRefused, match=r"550 5\.1\.1 .* unknown here") as refused:
        await deliver(mailer)

    assert READER not in str(refused.value)


async def test_after_any_error_the_connection_is_a_new_one(
    mail_server: SmtpServer, mailer: Mailer
) -> None:
    """Whatever state the old one is in, the next mail does not suffer from it."""
    mail_server.answer("RCPT", "550 5.1.1 no")
    with pytest.raises(MailRefused):
        await deliver(mailer)
    await deliver(mailer)

    assert mail_server.connections == 2
    assert len(mail_server.taken) == 1


async def test_a_connection_closed_while_it_rested_costs_nothing(
    mail_server: SmtpServer, mailer: Mailer
) -> None:
    """Servers hang up on the idle; that says nothing about the next mail."""
    await deliver(mailer)
    await mail_server.stop()
    await mail_server.start()
    await deliver(mailer)

    assert len(mail_server.taken) == 2


async def test_421_on_a_rested_connection_costs_nothing(
    mail_server: SmtpServer, mailer: Mailer
) -> None:
    """Others say so before they hang up."""
    await deliver(mailer)
    mail_server.answer("MAIL", "421 4.4.2 idle for too long")
    await deliver(mailer)

    assert len(mail_server.taken) == 2


async def test_nobody_listening_defers() -> None:
    """The server is being restarted."""
    with pytest.raises(MailServerUnavailable):
        await deliver(mailer_for(free_port()))


async def test_a_silent_server_defers_in_time(mail_server: SmtpServer) -> None:
    """Half-open connections and stopped processes accept and say nothing."""
    async with TcpProxy((mail_server.host, mail_server.port)) as proxy:
        proxy.hold_downstream()
        with pytest.raises(MailServerUnavailable):
            await deliver(mailer_for(proxy.port, timeout="200ms"))


async def test_dropped_between_dot_and_answer_is_unknown(
    mail_server: SmtpServer, mailer: Mailer
) -> None:
    """Here it was taken; elsewhere it was not. Nobody can tell (RFC 1047)."""
    mail_server.drop(Drop.BEFORE_ANSWER)

    with pytest.raises(OutcomeUnknown):
        await deliver(mailer)

    assert len(mail_server.taken) == 1


async def test_silence_after_the_dot_is_unknown(mail_server: SmtpServer) -> None:
    """Likewise."""
    mail_server.hold()
    with pytest.raises(OutcomeUnknown):
        await deliver(mailer_for(mail_server.port, answer_timeout="100ms"))


async def test_dropped_after_the_answer_is_sent(mail_server: SmtpServer, mailer: Mailer) -> None:
    """The answer counts, not the goodbye."""
    mail_server.drop(Drop.AFTER_ANSWER)
    await deliver(mailer)
    await deliver(mailer)

    assert len(mail_server.taken) == 2


async def test_dropped_before_the_mail_was_handed_over_is_deferred(mail_server: SmtpServer) -> None:
    """The server has not seen the final dot, so it has no mail: trying again is safe."""
    async with TcpProxy(("127.0.0.1", mail_server.port)) as proxy:
        mailer = mailer_for(proxy.port)
        await deliver(mailer)
        proxy.hold_upstream()
        second = asyncio.create_task(deliver(mailer))
        await asyncio.sleep(0)
        await proxy.cut()
        with pytest.raises(MailDeferred):
            await second


async def test_who_is_cancelled_after_the_dot_knows_of_the_doubt(mail_server: SmtpServer) -> None:
    """A service that ends while it waits for the answer must not call the mail unsent."""
    mail_server.hold()
    mailer = mailer_for(mail_server.port)
    waiting = asyncio.create_task(deliver(mailer))
    await eventually(lambda: mail_server.taken)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert mailer.in_doubt
