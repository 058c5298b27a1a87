"""A backup, what happens after it, and the way back, as the handbook says it."""

import json
from typing import Any

import pytest

from tests.operations.conftest import Desk
from tests.operations.scenarios import BACKUP, RESTORE
from tests.support.eventually import eventually

# What happens after the backup: a mail is sent, an application ends, another begins.
AFTERWARDS = """
BACKUP_TIME=$(date -u +%Y-%m-%dT%H:%M:%SZ)
kept=$credentials
oauthapps applications deactivate "$id"
lost=$(oauthapps applications create --owner ada@example.com --name "Made after the backup" --json)
until oauthapps notifications list --state sent | grep ApplicationDeactivated; do sleep 0.2; done
"""
MADE_AGAIN = """
new=$(oauthapps applications create --owner ada@example.com --name "Made after the restore" --json)
"""


def mails_about(desk: Desk, words: str) -> int:
    """Return how many mails say these words."""
    return sum(words in one.message.as_string() for one in desk.smtp.taken)


async def variable(desk: Desk, name: str) -> Any:
    """Return what a command has printed into a variable, parsed."""
    return json.loads(await desk.shell.type(f'printf "%s" "${name}"'))


async def token_of(desk: Desk, name: str) -> str:
    """Return the answer to a request for a token, by what the creation had answered."""
    made = await variable(desk, name)
    credentials = f"{made['client_id']}:{made['client_secret']}"
    return await desk.shell.type(f"credentials='{credentials}'; get_token")


@pytest.mark.timeout(300)
async def test_a_restored_backup_is_a_history_of_its_own_and_tells_nothing_twice(
    desk: Desk,
) -> None:
    """Log, projection and mail fit together again, and what was withdrawn stays so."""
    await desk.work_through(BACKUP)
    await eventually(lambda: mails_about(desk, "Nightly import") > 0, 30)
    before = await desk.shell.type("oauthapps projection status")
    await desk.shell.type(AFTERWARDS)
    await eventually(lambda: mails_about(desk, "Made after the backup") > 0, 30)
    told = [one.message["Message-ID"] for one in desk.smtp.taken]

    await desk.work_through(RESTORE)

    epoch, position = (await desk.shell.type("oauthapps projection status")).splitlines()[:2]
    assert epoch not in before
    # What was in the backup, and its deactivation again.
    assert position.split() == ["position", "2"]
    assert "invalid_client" in await token_of(desk, "created")
    assert "invalid_client" in await token_of(desk, "lost")

    await desk.shell.type(MADE_AGAIN)
    await eventually(lambda: mails_about(desk, "Made after the restore") > 0, 30)
    # The log is read in its order: what comes before the new one was dealt with by now.
    sent = [one.message["Message-ID"] for one in desk.smtp.taken]
    assert len(set(sent)) == len(sent)
    assert sent[: len(told)] == told
    again = sent[len(told) :]
    assert sum("Made after the restore" in one.message.as_string() for one in desk.smtp.taken) == 1
    # The one other mail is about what was done by hand: the deactivation of this history.
    assert len(again) == 2, again
