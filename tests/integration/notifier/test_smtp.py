"""Handing mail over, with every way it can go wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from shared.sections import Smtp
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
    await mailer.deliver(mail(text).as_bytes(), sender=SENDER, recipient=READER)


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


@pytest.mark.parametrize("step", ["RCPT", "DATA"])
async def test_5xx_refuses_in_the_servers_words_without_the_address(
    mail_server: SmtpServer, mailer: Mailer, step: Any
) -> None:
    """The operator reads why; the address is nobody's business."""
    mail_server.answer(step, f"550 5.1.1 <{READER}> unknown here")

    with pytest.raises(MailRefused, match=r"550 5\.1\.1 .* unknown here") as refused:
        await deliver(mailer)

    assert READER not in str(refused.value)


@pytest.mark.parametrize(
    ("step", "reply"),
    [("MAIL", "550 5.7.1 you may not send"), ("RCPT", "530 5.7.0 log in first")],
)
async def test_5xx_about_us_is_not_held_against_the_mail(
    mail_server: SmtpServer, mailer: Mailer, step: Any, reply: str
) -> None:
    """A sender that is refused would park every mail there is; also on a connection in use."""
    mail_server.answer(step, reply)
    with pytest.raises(MailServerUnavailable, match=reply[:9]):
        await deliver(mailer)
    await deliver(mailer)
    mail_server.answer(step, reply)
    with pytest.raises(MailServerUnavailable, match=reply[:9]):
        await deliver(mailer)


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
async def test_421_defers_whenever_it_comes(
    mail_server: SmtpServer, mailer: Mailer, step: Any
) -> None:
    """The server goes away: it has not refused the mail."""
    mail_server.answer(step, "421 4.3.2 shutting down")

    with pytest.raises(MailDeferred, match="421"):
        await deliver(mailer)


async def _say(words: bytes, after: bytes) -> AsyncIterator[int]:
    """Serve one connection that takes everything, but answers one command with these words."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        try:
            while line := await reader.readline():
                if line.upper().startswith(after):
                    writer.write(words)
                elif line.upper().startswith(b"DATA"):
                    writer.write(b"354 go on\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    writer.write(words if after == b"." else b"250 taken\r\n")
                else:
                    writer.write(b"250 fine\r\n")
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


saying = asynccontextmanager(_say)


@pytest.mark.parametrize(
    ("words", "failure"),
    [
        (b"550 \x1b[31mno\x00\x07 \x9b such <ada@example.com>\r\n", MailRefused),
        (b"550-" + b"b" * 500 + b"\r\n550 no\r\n", MailRefused),
        (b"450 " + b"x" * 1_000_000 + b"\r\n", MailDeferred),
        (b"550-word word word\r\n" * 50_000 + b"550 end\r\n", MailDeferred),
        (b"HTTP/1.1 400 Bad Request\r\n", MailDeferred),
    ],
)
async def test_words_of_any_kind_are_told_short_and_plain(
    words: bytes, failure: type[Exception]
) -> None:
    """They end in the database and on somebody's terminal."""
    async with saying(words, b"RCPT") as port:
        with pytest.raises(failure) as failed:
            await deliver(mailer_for(port))

    told = str(failed.value)
    assert len(told) < 3000
    assert told.isprintable()
    assert READER not in told


async def test_words_that_are_no_answer_after_the_dot_leave_it_unknown() -> None:
    """Too long to be read, it may have begun with a 250."""
    async with saying(b"250 " + b"x" * 1_000_000 + b"\r\n", b".") as port:
        with pytest.raises(OutcomeUnknown):
            await deliver(mailer_for(port))


async def test_silence_after_data_defers() -> None:
    """The mail has not been handed over yet."""
    async with saying(b"", b"DATA") as port:
        with pytest.raises(MailDeferred):
            await deliver(mailer_for(port, timeout="200ms"))


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
