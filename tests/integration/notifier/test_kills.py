"""kill -9 of a sender, wherever it is with a delivery: one mail at least, and two are counted."""

import asyncio
import os
import sys

from services.notifier.deliveries import Deliveries, Filter
from shared.postgres import Pool
from tests.integration.notifier.house import Directory, record, sending, settings
from tests.support.eventually import eventually
from tests.support.smtp_server import SmtpServer
from tests.unit.notifier.factories import application_created, envelope

# Each child dies of SIGKILL before or after its call of one function; forked, so that all of them
# together load their modules once.
KILLED = """
import asyncio, os, signal, sys
import aiosmtplib
from services.notifier import smtp
from services.notifier.deliveries import Deliveries
from services.notifier.outgoing import Outgoing
from shared.sections import Notifier
from shared.postgres import create_pool
from tests.integration.notifier.house import Directory, sending

POINTS = [
    (Deliveries, "claim", "before"),
    (Deliveries, "claim", "after"),
    (Outgoing, "content_of", "after"),
    (aiosmtplib.SMTP, "mail", "after"),
    (aiosmtplib.SMTP, "rcpt", "after"),
    (smtp, "_dotted", "before"),
    (smtp.Mailer, "_answer", "before"),
    (Deliveries, "settle_and_claim", "before"),
    (Deliveries, "settle_and_claim", "after"),
]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def arm(owner, name, when):
    real = getattr(owner, name)
    def sync(*given, **named):
        if when == "before":
            die()
        result = real(*given, **named)
        if not asyncio.iscoroutine(result):
            die()
        async def wait():
            await result
            die()
        return wait()
    setattr(owner, name, sync)

async def main():
    pool = await create_pool(sys.argv[1], size=4)
    values = Notifier.model_validate(
        {"lease": "10m", "senders": 1, "smtp": {"port": int(sys.argv[2])}}
    )
    async with sending(Deliveries(pool), Directory(), values):
        await asyncio.Event().wait()

for point in POINTS:
    child = os.fork()
    if child == 0:
        arm(*point)
        asyncio.run(main())
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, (point, status)
"""
MAILS = 12
# After the dot: before the answer was read, and before it was noted.
TWICE = 2


async def test_a_sender_killed_anywhere_leaves_one_mail_at_least(
    database_url: str, deliveries: Deliveries, pool: Pool, mail_server: SmtpServer
) -> None:
    """Two come of the moments after the dot alone, and each of those is counted as unknown."""
    await record(
        deliveries, *(envelope(n, application_created(name=f"CI {n}")) for n in range(MAILS))
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, database_url, str(mail_server.port),
        env={**os.environ, "PYTHONPATH": os.getcwd()},  # noqa: PTH109 - the tests' root
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-3000:]
    before = [mail.message["Message-ID"] for mail in mail_server.taken]
    left = await deliveries.page(Filter(state="sending"), MAILS)
    # The leases run out.
    await pool.execute(
        "UPDATE notifier.deliveries SET next_attempt_at = now() WHERE state = 'sending'"
    )
    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: _all_sent(deliveries))

    ids = [mail.message["Message-ID"] for mail in mail_server.taken]
    rows = {row["message_id"]: row for row in await deliveries.page(Filter(), MAILS)}
    twice = {one for one in ids if ids.count(one) > 1}
    # The last to be killed had noted its mail, and with that claimed the next one.
    assert len(before) == TWICE + 1
    assert len(left) == 8
    assert set(ids) == set(rows)
    assert len(ids) == MAILS + TWICE
    assert len(twice) == TWICE
    assert all(rows[one]["unknown_outcomes"] == 1 for one in twice)
    # Nobody can tell these from those that were killed before the dot.
    assert sum(row["unknown_outcomes"] for row in rows.values()) == len(left)
    assert sum(row["attempts"] for row in rows.values()) == MAILS + len(left)


async def _all_sent(deliveries: Deliveries) -> bool:
    return len(await deliveries.page(Filter(state="sent"), MAILS)) == MAILS
