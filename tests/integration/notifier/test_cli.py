"""`oauthapps notifications` and `oauthapps notifier`, run as an operator runs them."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from services.notifier import cli
from services.notifier.deliveries import Deliveries
from services.notifier.outcome import Verdict
from shared.service_credential import load_or_create
from tests.integration.notifier.house import Directory, record, record_one, sending, settings
from tests.integration.notifier.test_deliveries import LEASE
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.postgres import Databases
from tests.support.smtp_server import SmtpServer
from tests.unit.notifier.factories import CLIENT_ID, OWNER, application_created, envelope

Result = subprocess.CompletedProcess[str]


class Console:
    """A command line whose notifier has this database."""

    def __init__(self, var: Path, database_url: str, smtp_port: int | None = None) -> None:
        self._environment = {
            **os.environ,
            **({} if smtp_port is None else {"OAUTHAPPS_NOTIFIER__SMTP__PORT": str(smtp_port)}),
            "OAUTHAPPS_VAR": str(var),
            "OAUTHAPPS_NOTIFIER__DATABASE__URL": database_url,
        }

    async def run(self, *arguments: str, **environment: str) -> Result:
        """Run a command to its end."""
        command = [sys.executable, "-m", "services", *arguments]
        variables = {**self._environment, **environment}
        return await asyncio.to_thread(
            lambda: subprocess.run(
                command, env=variables, capture_output=True, text=True, check=False
            )
        )

    async def printed(self, *arguments: str) -> Any:
        """Return what a command of `notifications` prints as JSON."""
        result = await self.run("notifications", *arguments, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)


@pytest.fixture
def console(tmp_path: Path, database_url: str, request: pytest.FixtureRequest) -> Console:
    """The command line beside the test's database, and its mail server if it has one."""
    has_server = "mail_server" in request.fixturenames
    port = request.getfixturevalue("mail_server").port if has_server else None
    return Console(tmp_path, database_url, port)


def assert_one_line(result: Result, *words: str) -> None:
    assert (result.returncode, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


async def settled(deliveries: Deliveries, verdict: Verdict) -> str:
    """Record a delivery, let an attempt end so, and return its id."""
    await record_one(deliveries)
    claim = await deliveries.claim(uuid.uuid4(), LEASE)
    assert claim is not None
    await deliveries.settle(claim, verdict)
    return str(claim.id)


async def parked(deliveries: Deliveries) -> str:
    return await settled(deliveries, Verdict(state="parked", reason="550 5.1.1 no such mailbox"))


async def sent(deliveries: Deliveries) -> str:
    return await settled(deliveries, Verdict(state="sent", reason=None))


async def test_notifications_are_listed_newest_first(
    console: Console, deliveries: Deliveries
) -> None:
    """All of them, those in one state, or as many as one wants to see."""
    assert await console.printed("list") == []
    first, second = await sent(deliveries), await parked(deliveries)
    await record(deliveries, envelope(3, application_created(name="CI")))

    rows = await console.printed("list")
    newest, *_ = rows
    assert [row["id"] for row in rows[1:]] == [second, first]
    assert (newest["state"], newest["attempts"], newest["recipient"]) == ("due", 0, OWNER)
    assert newest["context"]["application_name"] == "CI"
    assert newest["context"]["client_id"] == CLIENT_ID
    assert await console.printed("list", "--limit", "1") == [newest]
    known = ("--recipient", OWNER, "--rule", "application-created", "--state", "due")
    since = ("--event-type", "ApplicationCreated", "--created-after", "2020-01-01T00:00:00Z")
    of_one = ("--application", newest["application_id"])
    assert await console.printed("list", *known, *since, *of_one) == [newest]
    assert [row["id"] for row in await console.printed("list", "--state", "parked")] == [second]


async def test_the_list_for_people_says_what_is_wrong(
    console: Console, deliveries: Deliveries
) -> None:
    """A line for each, with the reason; a pipe breaks none of them."""
    notification = await parked(deliveries)
    result = await console.run("notifications", "list")

    head, line = result.stdout.splitlines()
    assert head.split()[:2] == ["id", "event"]
    assert notification in line
    assert "550 5.1.1 no such mailbox" in line


async def test_one_notification_is_shown_whole(console: Console, deliveries: Deliveries) -> None:
    """For people a line for each member, for programs an object; the same in both."""
    notification = await parked(deliveries)
    shown = await console.printed("show", notification)
    result = await console.run("notifications", "show", notification)

    assert (shown["id"], shown["state"], shown["attempts"]) == (notification, "parked", 1)
    assert shown["last_error"] == "550 5.1.1 no such mailbox"
    assert shown["message_id"] in result.stdout
    assert len(result.stdout.splitlines()) == len(shown)


async def test_a_parked_notification_is_sent_after_a_retry(
    console: Console, deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """The mailbox is there now. A second retry of what was sent is refused."""
    notification = await parked(deliveries)
    async with sending(deliveries, Directory(), settings(mail_server)):
        retried = await console.printed("retry", notification)
        await eventually(lambda: _is(deliveries, notification, "sent"))
    again = await console.run("notifications", "retry", notification)

    assert (retried["state"], retried["attempts"]) == ("due", 0)
    assert len(mail_server.taken) == 1
    assert mail_server.taken[0].message["Message-ID"] == retried["message_id"]
    assert_one_line(again, notification, "'sent'", "nothing to change")


async def test_a_discarded_notification_is_given_up_until_it_is_retried(
    console: Console, deliveries: Deliveries
) -> None:
    """Given up is not gone: it is listed, and can be taken back."""
    notification = await parked(deliveries)
    discarded = await console.printed("discard", notification)
    again = await console.printed("discard", notification)
    listed = await console.printed("list", "--state", "discarded")
    retried = await console.printed("retry", notification)

    assert discarded["state"] == again["state"] == "discarded"
    assert discarded["finished_at"] is not None
    assert [row["id"] for row in listed] == [notification]
    assert (retried["state"], retried["finished_at"]) == ("due", None)


async def test_what_is_being_sent_is_left_alone(console: Console, deliveries: Deliveries) -> None:
    """The mail may be with the server already: discarding it would be a lie."""
    await record_one(deliveries)
    claim = await deliveries.claim(uuid.uuid4(), LEASE)
    assert claim is not None

    for command in ("retry", "discard"):
        refused = await console.run("notifications", command, str(claim.id))
        assert_one_line(refused, str(claim.id), "'sending'")
    assert await _is(deliveries, str(claim.id), "sending")


@pytest.mark.parametrize("command", ["show", "retry", "discard"])
@pytest.mark.parametrize("notification", [str(uuid.UUID(int=7)), "no-id", "'; DROP"])
async def test_an_unknown_notification_is_one_line(
    console: Console, deliveries: Deliveries, command: str, notification: str
) -> None:
    """Whatever was given as its id."""
    refused = await console.run("notifications", command, notification)

    assert_one_line(refused, f"there is no notification {notification}")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["list", "--state", "lost"], "parked"),
        (["list", "--limit", "0"], "--limit"),
        (["show"], "ID"),
        (["send"], "send"),
        (["test"], "--to"),
        (["test", "--to", "a@b.example", "--locale", "x!"], "--locale"),
    ],
)
async def test_a_wrong_use_is_status_2(console: Console, arguments: list[str], word: str) -> None:
    """And says what would be right, without asking the database."""
    result = await console.run("notifications", *arguments)

    assert (result.returncode, result.stdout) == (2, "")
    assert word in result.stderr


async def test_a_database_that_was_not_migrated_is_one_line(
    tmp_path: Path, databases: Databases
) -> None:
    """With the command that does it."""
    async with databases.empty() as url:
        refused = await Console(tmp_path, url).run("notifications", "list")

    assert_one_line(refused, "oauthapps migrate")


async def test_a_database_that_is_away_is_one_line(tmp_path: Path) -> None:
    """With the setting to look at, and without the password in it."""
    away = Console(tmp_path, f"postgresql://u:hushhush@127.0.0.1:{free_port()}/x")
    refused = await away.run("notifications", "list")

    assert_one_line(refused, "does not answer", "OAUTHAPPS_NOTIFIER__DATABASE__URL")
    assert "hushhush" not in refused.stderr


async def test_a_service_that_could_never_send_does_not_start(
    console: Console, tmp_path: Path
) -> None:
    """It would be ready, and its senders dead. A file that is missing is waited for instead."""
    load_or_create(tmp_path / "service_credential")
    variables = {
        "OAUTHAPPS_NOTIFIER__SMTP__TLS": "starttls",
        "OAUTHAPPS_NOTIFIER__SMTP__USERNAME": "u",
        "OAUTHAPPS_NOTIFIER__PORT": str(free_port()),
    }

    refused = await console.run("notifier", "serve", **variables)

    assert_one_line(refused, "smtp.username")


async def test_a_sample_goes_through_the_real_mail_server(
    console: Console, mail_server: SmtpServer
) -> None:
    """The first thing to try after the mail server was configured, or a template written."""
    sent = await console.printed("test", "--to", "you@example.com", "--locale", "de")

    (mail,) = mail_server.taken
    assert mail.recipients == ("you@example.com",)
    assert mail.message["Message-ID"] == sent["message_id"]
    assert mail.message["Content-Language"] == sent["language"] == "de"
    assert mail.message["Subject"] == sent["subject"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "you@example.com", "--template", "none"], ["template none", "secret_rotated"]),
        (["--to", "nobody"], ["not an e-mail address"]),
        (["--to", "you@example.com"], ["550 5.1.1", "[address]"]),
    ],
)
async def test_a_sample_that_is_not_sent_says_why(
    console: Console, mail_server: SmtpServer, arguments: list[str], words: list[str]
) -> None:
    """In the server's words where it has some."""
    mail_server.answer("RCPT", "550 5.1.1 <you@example.com> is unknown")

    assert_one_line(await console.run("notifications", "test", *arguments), "not sent", *words)


async def test_a_broken_rule_keeps_the_service_from_starting(
    console: Console, tmp_path: Path
) -> None:
    """With the one line that names where it is."""
    config = tmp_path / "broken.yml"
    config.write_text("notifier:\n  rules:\n    mine: {event: Nothing}\n")
    load_or_create(tmp_path / "service_credential")

    serve = ["notifier", "serve", "--port", str(free_port())]
    for arguments in (serve, ["notifications", "test", "--to", "a@b.example"]):
        refused = await console.run(*arguments, "--config", str(config))
        assert_one_line(refused, f"{config}, line 3: notifier.rules.mine.event")


@pytest.mark.parametrize("name", ["notifier", "notifications"])
def test_every_command_has_a_help_text(name: str) -> None:
    """`--help` is the manual that is always at hand."""
    group = getattr(cli, name)

    assert group.info.help
    assert all(one.callback and one.callback.__doc__ for one in group.registered_commands)


async def _is(deliveries: Deliveries, notification: str, state: str) -> bool:
    row = await deliveries.find(uuid.UUID(notification))
    return row is not None and row["state"] == state
