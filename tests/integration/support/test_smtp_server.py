"""The mail server of the tests takes mail, and fails as it is told."""

import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest
import pytest_asyncio

from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.smtp_server import Drop, SmtpServer, Step


@pytest_asyncio.fixture
async def smtp_server() -> AsyncIterator[SmtpServer]:
    async with SmtpServer() as server:
        yield server


def mail(subject: str = "Hello") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "oauthapps@example.org"
    message["To"] = "owner@example.org"
    message["Subject"] = subject
    message.set_content("Grüße")
    return message


async def send(server: SmtpServer, message: EmailMessage) -> None:
    await aiosmtplib.send(message, hostname=server.host, port=server.port, timeout=5)


async def test_it_keeps_what_it_takes(smtp_server: SmtpServer) -> None:
    """Tests look at the mail as a person would get it."""
    await send(smtp_server, mail("Hello"))
    (taken,) = smtp_server.taken
    assert taken.sender == "oauthapps@example.org"
    assert taken.recipients == ("owner@example.org",)
    assert taken.message["Subject"] == "Hello"
    assert taken.message.get_content().strip() == "Grüße"


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
async def test_it_answers_as_told_and_then_as_usual(smtp_server: SmtpServer, step: Step) -> None:
    """4xx and 5xx come at any step, and go away again."""
    smtp_server.answer(step, "451 4.3.0 later")
    with pytest.raises((aiosmtplib.SMTPResponseException, aiosmtplib.SMTPRecipientsRefused)):
        await send(smtp_server, mail())
    await send(smtp_server, mail())
    assert len(smtp_server.taken) == (2 if step == "DATA" else 1)


async def test_held_it_has_the_mail_and_says_nothing(smtp_server: SmtpServer) -> None:
    """Between the final dot and its answer nobody can know."""
    smtp_server.hold()
    sending = asyncio.ensure_future(send(smtp_server, mail()))
    await eventually(lambda: smtp_server.taken)
    assert not sending.done()
    smtp_server.release()
    await sending


async def test_dropped_before_the_answer_the_mail_is_there_and_the_client_in_doubt(
    smtp_server: SmtpServer,
) -> None:
    """The case in which a mail may be sent twice."""
    smtp_server.drop(Drop.BEFORE_ANSWER)
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await send(smtp_server, mail())
    assert len(smtp_server.taken) == 1


async def test_dropped_after_the_answer_the_mail_is_sent(smtp_server: SmtpServer) -> None:
    """QUIT then fails, which must not make a sent mail a failed one."""
    smtp_server.drop(Drop.AFTER_ANSWER)
    client = aiosmtplib.SMTP(hostname=smtp_server.host, port=smtp_server.port, timeout=5)
    await client.connect()
    await client.send_message(mail())
    await eventually(lambda: not client.is_connected)
    assert len(smtp_server.taken) == 1


async def test_stopped_it_cuts_and_refuses_until_started_again(smtp_server: SmtpServer) -> None:
    """A mail server that restarts."""
    await smtp_server.stop()
    with pytest.raises(aiosmtplib.SMTPConnectError):
        await send(smtp_server, mail())
    await smtp_server.start()
    await send(smtp_server, mail())
    assert len(smtp_server.taken) == 1


async def test_with_users_it_takes_mail_from_nobody_else(tmp_path: Path) -> None:
    """And offers the login in encryption only."""
    authority = Authority(tmp_path)
    async with SmtpServer(starttls=authority.server(), users={"u": "p"}) as server:
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            timeout=5,
            start_tls=False,
            cert_bundle=str(authority.file),
        )
        await client.connect()
        with pytest.raises(aiosmtplib.SMTPResponseException, match="who are you"):
            await client.send_message(mail())
        await client.ehlo()
        assert not client.supports_extension("auth")
        await client.starttls()
        with pytest.raises(aiosmtplib.SMTPAuthenticationError, match="535"):
            await client.login("u", "q")
        await client.login("u", "p")
        await client.send_message(mail())
        await client.quit()

    (taken,) = server.taken
    assert (taken.encrypted, taken.user) == (True, "u")
