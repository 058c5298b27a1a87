"""The mail catcher keeps what it said it has, as it came, and nothing else."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest

from services.embedded.mail_catcher import MailCatcher
from shared.server import bind
from tests.support.eventually import eventually
from tests.support.logged import Logged

BODY = b"Subject: Hello\r\n\r\n..leading dot, and \xff\xfe\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "var" / "mail"


@asynccontextmanager
async def catcher(folder: Path) -> AsyncIterator[int]:
    """Run a catcher; gives its port."""
    with bind("127.0.0.1", 0, option="--smtp-port") as listener:
        port: int = listener.getsockname()[1]
        async with MailCatcher(folder, listener):
            yield port


class Client:
    """Says SMTP line by line, also what no mail library would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def hear(self) -> bytes:
        while (line := await asyncio.wait_for(self._reader.readline(), 5))[3:4] == b"-":
            pass
        return line

    async def say(self, line: bytes) -> bytes:
        self._writer.write(line + b"\r\n")
        return await self.hear()

    async def send(self, *, sender: bytes = b"from@example.org", to: bytes = b"to@x.org") -> bytes:
        """Return the answer to the final dot."""
        assert (await self.say(b"MAIL FROM:<%s>" % sender)).startswith(b"250")
        assert (await self.say(b"RCPT TO:<%s>" % to)).startswith(b"250")
        assert (await self.say(b"DATA")).startswith(b"354")
        # A line that begins with a dot travels with one more. RFC 5321, section 4.5.2.
        return await self.say(BODY.replace(b"\r\n.", b"\r\n..") + b".")


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = Client(reader, writer)
    try:
        await client.hear()
        await client.say(b"EHLO client")
        yield client
    finally:
        writer.close()


def replace_by_file(folder: Path) -> None:
    """Not even root gets a mail into what is no folder."""
    folder.rmdir()
    folder.touch()


def restore(folder: Path) -> None:
    folder.unlink()
    folder.mkdir()


def names(folder: Path) -> list[str]:
    """All that is in the folder, drafts as well."""
    return [file.name for file in folder.iterdir()]


def kept(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.glob("*.eml"))]


def parsed(mail: bytes) -> EmailMessage:
    message = message_from_bytes(mail, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


async def test_a_mail_is_in_its_file_byte_for_byte_when_250_is_answered(folder: Path) -> None:
    """Whoever sent it looks for it at once, and wants to see what was really sent."""
    async with catcher(folder) as port, connected(port) as client:
        assert (await client.send()).startswith(b"250")
        assert kept(folder) == [
            b"X-Envelope-From: from@example.org\r\nX-Envelope-To: to@x.org\r\n" + BODY
        ]


async def test_the_envelope_tells_who_was_meant_whatever_the_headers_say(folder: Path) -> None:
    """A recipient in blind copy stands nowhere else."""
    message = EmailMessage()
    message["From"] = "shown@example.org"
    message["To"] = "shown@example.org"
    message.set_content("Grüße")
    async with catcher(folder) as port:
        await aiosmtplib.send(
            message,
            sender="from@example.org",
            recipients=["one@example.org", "two@example.org"],
            hostname="127.0.0.1",
            port=port,
        )
    (mail,) = map(parsed, kept(folder))
    assert mail["X-Envelope-From"] == "from@example.org"
    assert mail.get_all("X-Envelope-To") == ["one@example.org", "two@example.org"]
    assert mail.get_content().strip() == "Grüße"


async def test_mails_at_the_same_time_have_files_of_their_own(folder: Path) -> None:
    """Their order by name is the order in which they came."""

    async def send(port: int) -> bytes:
        async with connected(port) as client:
            return await client.send()

    async with catcher(folder) as port:
        answers = await asyncio.gather(*(send(port) for _ in range(20)))
    assert all(answer.startswith(b"250") for answer in answers)
    assert len(kept(folder)) == 20


async def test_an_address_that_is_no_utf8_is_kept_as_it_came(folder: Path) -> None:
    """To see what a faulty program sends is what a catcher is for."""
    async with catcher(folder) as port, connected(port) as client:
        assert (await client.send(to=b"\xff@x.org")).startswith(b"250")
    (mail,) = kept(folder)
    assert b"\r\nX-Envelope-To: \xff@x.org\r\n" in mail


async def test_an_address_cannot_forge_a_header(folder: Path) -> None:
    """A mail reader would show it as if the catcher had written it."""
    async with catcher(folder) as port, connected(port) as client:
        await client.send(sender=b'"a\rX-Forged: 1"@x.org')
    (mail,) = map(parsed, kept(folder))
    assert mail["X-Forged"] is None
    assert mail["X-Envelope-From"] == '"a?X-Forged: 1"@x.org'


async def test_a_disk_that_takes_no_mail_is_answered_451_until_it_does(
    folder: Path, logged: Logged
) -> None:
    """The sender keeps the mail and tries again: none is lost, and no half one is found."""
    async with catcher(folder) as port, connected(port) as client:
        replace_by_file(folder)
        for _ in range(2):
            assert (await client.send()).startswith(b"451")
        restore(folder)
        assert (await client.send()).startswith(b"250")
    assert len(kept(folder)) == len(names(folder)) == 1
    assert logged.count("mail not kept") == logged.count("mail is kept again") == 1


async def test_a_failure_at_the_end_leaves_no_draft(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk would only get fuller."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    async with catcher(folder) as port, connected(port) as client:
        monkeypatch.setattr(os, "fsync", full)
        assert (await client.send()).startswith(b"451")
    assert names(folder) == []


async def test_its_end_cuts_who_is_still_connected(folder: Path) -> None:
    """Ctrl-C waits for no idle client, and no mail arrives after the end."""
    async with catcher(folder) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readline()
    try:
        await eventually(reader.at_eof)
    finally:
        writer.close()
