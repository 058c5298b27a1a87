"""Getting in at the mail server: encryption, its certificate, our login."""

import shutil
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio

from services.notifier.deliveries import Deliveries
from services.notifier.smtp import Mailer, MailServerUnavailable
from services.notifier.smtp_access import unread
from shared.sections import Smtp
from tests.integration.notifier.house import Directory, only, record_one, sending, settings
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.smtp_server import SmtpServer

SENDER, READER = "oauthapps@example.com", "ada@example.com"
USER, PASSWORD = "oauthapps", "Zauberwort-äöü-1729"
WRONG = "an0ther-pa55word"
Tls = Literal["starttls", "tls"]
both_kinds_of_tls = pytest.mark.parametrize("tls", ["starttls", "tls"])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who vouches for the test's mail servers."""
    return Authority(tmp_path)


@pytest_asyncio.fixture
async def guarded(authority: Authority) -> AsyncIterator[SmtpServer]:
    """A mail server with STARTTLS that takes mail from one user."""
    async with SmtpServer(starttls=authority.server(), users={USER: PASSWORD}) as server:
        yield server


@asynccontextmanager
async def encrypted(
    tls: Tls, authority: Authority, **certificate: Any
) -> AsyncIterator[SmtpServer]:
    context = authority.server(**certificate)
    async with (
        SmtpServer(starttls=context) if tls == "starttls" else SmtpServer(tls=context)
    ) as server:
        yield server


async def deliver(server: SmtpServer, **values: Any) -> None:
    """Hand a mail over by a connection of its own."""
    message = EmailMessage(policy=SMTP)
    message.set_content("Hello\n")
    mailer = Mailer(Smtp.model_validate({"port": server.port, "timeout": 5, **values}))
    try:
        await mailer.deliver(message.as_bytes(), sender=SENDER, recipient=READER)
    finally:
        await mailer.close()


async def refusal(server: SmtpServer, **values: Any) -> str:
    """Return why a mail could not be handed over; nothing of it must have arrived."""
    with pytest.raises(MailServerUnavailable) as refused:
        await deliver(server, **values)
    assert server.taken == []
    return str(refused.value)


@both_kinds_of_tls
async def test_mail_goes_encrypted_to_a_server_with_a_good_certificate(
    tls: Tls, authority: Authority
) -> None:
    """One that an authority vouches for which the configuration names."""
    async with encrypted(tls, authority) as server:
        await deliver(server, tls=tls, ca_file=authority.file)

    (taken,) = server.taken
    assert taken.encrypted


@both_kinds_of_tls
async def test_an_unknown_authority_is_refused(tls: Tls, authority: Authority) -> None:
    """Anybody can make a certificate. The reason names the setting that would accept it."""
    async with encrypted(tls, authority) as server:
        reason = await refusal(server, tls=tls)

    assert "certificate is not accepted" in reason
    assert "ca_file" in reason


@both_kinds_of_tls
@pytest.mark.parametrize(
    ("certificate", "word"),
    [({"address": "127.0.0.2"}, "mismatch"), ({"lasts": timedelta(days=-1)}, "expired")],
)
async def test_a_certificate_of_another_or_an_old_one_is_refused(
    tls: Tls, authority: Authority, certificate: dict[str, Any], word: str
) -> None:
    """Also when the authority is the right one."""
    async with encrypted(tls, authority, **certificate) as server:
        reason = await refusal(server, tls=tls, ca_file=authority.file)

    assert "certificate is not accepted" in reason
    assert word in reason


async def test_a_server_without_starttls_gets_nothing(
    mail_server: SmtpServer, authority: Authority
) -> None:
    """Neither mail nor password goes over the wire in the clear when it must not."""
    reason = await refusal(
        mail_server, tls="starttls", ca_file=authority.file, username=USER, password=PASSWORD
    )

    assert "does not offer STARTTLS" in reason
    assert mail_server.logins == []


async def test_tls_with_a_server_that_begins_in_the_clear_is_told_apart(
    mail_server: SmtpServer,
) -> None:
    """The port of one with the setting of the other: the usual mistake."""
    reason = await refusal(mail_server, tls="tls")

    assert "no TLS" in reason
    assert "notifier.smtp.tls" in reason


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_we_log_in_by_what_the_server_offers(authority: Authority, mechanism: str) -> None:
    """Some servers know only the older one."""
    context = authority.server()
    async with SmtpServer(
        starttls=context, users={USER: PASSWORD}, mechanisms={mechanism}
    ) as server:
        await deliver(
            server, tls="starttls", ca_file=authority.file, username=USER, password=PASSWORD
        )

    (taken,) = server.taken
    assert (taken.encrypted, taken.user) == (True, USER)
    assert server.logins == [mechanism]


async def test_a_password_from_a_file_is_used(
    guarded: SmtpServer, authority: Authority, tmp_path: Path
) -> None:
    """As editors leave it: with a line end."""
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n", encoding="utf-8")
    await deliver(
        guarded, tls="starttls", ca_file=authority.file, username=USER, password_file=file
    )

    assert guarded.taken[0].user == USER


async def test_a_login_that_is_not_offered_is_told_apart(mail_server: SmtpServer) -> None:
    """Most servers offer it in TLS only; a password is not sent on the off chance."""
    reason = await refusal(mail_server, username=USER, password=PASSWORD)

    assert "offers no login" in reason
    assert mail_server.logins == []


async def test_a_wrong_password_is_not_held_against_the_mail(
    guarded: SmtpServer, authority: Authority
) -> None:
    """It must not park every mail for good."""
    reason = await refusal(
        guarded, tls="starttls", ca_file=authority.file, username=USER, password=WRONG
    )

    assert "does not accept us: 535" in reason


@pytest.mark.parametrize(
    "repeated",
    [WRONG, b64encode(WRONG.encode()).decode(), b64encode(f"\0{USER}\0{WRONG}".encode()).decode()],
)
async def test_a_password_that_the_server_repeats_is_not_kept(
    authority: Authority, repeated: str
) -> None:
    """Some repeat the command they refuse, and `/readyz` shows their words to everybody."""
    context = authority.server()
    async with SmtpServer(starttls=context, users={USER: PASSWORD}, mechanisms={"PLAIN"}) as server:
        server.answer("AUTH", f"501 5.5.2 cannot decode {repeated} at all")
        reason = await refusal(
            server, tls="starttls", ca_file=authority.file, username=USER, password=WRONG
        )

    assert "501 5.5.2 cannot decode [password] at all" in reason


async def test_a_wrong_password_is_told_everywhere_and_shown_nowhere(
    guarded: SmtpServer,
    authority: Authority,
    deliveries: Deliveries,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The operator learns of it from health, list and log; once it is right, the mail goes."""
    access = {"tls": "starttls", "ca_file": authority.file, "username": USER}
    await record_one(deliveries)
    wrong = settings(guarded, smtp={**access, "password": WRONG})
    async with sending(deliveries, Directory(), wrong) as senders:
        await eventually(lambda: senders.smtp_trouble)
        await eventually(lambda: _has_failed(deliveries))
        trouble = senders.smtp_trouble
    row = await only(deliveries)
    out, err = capfd.readouterr()
    said = f"{out} {err} {caplog.text} {row} {trouble}"

    assert row["state"] == "due"
    assert "535" in row["last_error"]
    assert "535" in str(trouble)
    for spelled in (WRONG, b64encode(WRONG.encode()).decode()):
        assert spelled not in said

    right = settings(guarded, smtp={**access, "password": PASSWORD})
    async with sending(deliveries, Directory(), right):
        await eventually(lambda: guarded.taken)


async def test_files_that_come_late_are_waited_for_and_read_again(
    guarded: SmtpServer, authority: Authority, deliveries: Deliveries, tmp_path: Path
) -> None:
    """A secret that is mounted after the start, or replaced: the next connection has it."""
    password, certificate = tmp_path / "password", tmp_path / "late.pem"
    files = {"ca_file": certificate, "password_file": password}
    await record_one(deliveries)
    values = settings(guarded, smtp={"tls": "starttls", "username": USER, **files})

    async with sending(deliveries, Directory(), values) as senders:

        async def says(words: str) -> bool:
            return words in (senders.smtp_trouble or "")

        await eventually(lambda: says(f"{certificate}: cannot be used (No such file"))
        assert f"secret file {password}: cannot be read" in (unread(values.smtp) or "")
        shutil.copy(authority.file, certificate)
        await eventually(lambda: says(f"secret file {password}: cannot be read"))
        password.write_text(f"{WRONG}\n")
        await eventually(lambda: says("535"))
        assert unread(values.smtp) is None
        password.write_text(f"{PASSWORD}\n")
        await eventually(lambda: guarded.taken)
        await eventually(lambda: senders.smtp_trouble is None)


async def _has_failed(deliveries: Deliveries) -> bool:
    return (await only(deliveries))["last_error"] is not None
