"""Deliveries in the long run: answers that get lost, what is old, and who asked to be forgotten."""

import uuid
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

import asyncpg
import pytest

from services.notifier import sender
from services.notifier.deliveries import Claim, Deliveries, Filter
from services.notifier.outcome import Verdict
from shared.postgres import Pool
from tests.integration.notifier.house import (
    Directory,
    record,
    record_one,
    sending,
    settings,
    state,
)
from tests.integration.notifier.test_deliveries import LEASE
from tests.support.eventually import eventually
from tests.support.smtp_server import SmtpServer
from tests.unit.notifier.factories import application_created, envelope, recipient

KEEP = timedelta(days=90)
T = TypeVar("T")


class Forgetful(Deliveries):
    """A database that does what it is told, and whose first answer to that is lost."""

    def __init__(self, pool: Pool, lost: str) -> None:
        super().__init__(pool)
        self._lost = lost
        self.calls: list[str] = []

    async def claim(self, owner: uuid.UUID, lease: timedelta) -> Claim | None:
        return await self._answer("claim", super().claim(owner, lease))

    async def settle_and_claim(
        self, claim: Claim, verdict: Verdict, lease: timedelta
    ) -> tuple[bool, Claim | None]:
        return await self._answer("settle", super().settle_and_claim(claim, verdict, lease))

    async def _answer(self, name: str, work: Awaitable[T]) -> T:
        done = await work
        self.calls.append(name)
        if self._lost == name and self.calls.count(name) == 1:
            raise asyncpg.ConnectionDoesNotExistError
        return done


@pytest.mark.parametrize("lost", ["claim", "settle"])
async def test_an_answer_of_the_database_that_is_lost_costs_no_lease_and_no_copy(
    pool: Pool, mail_server: SmtpServer, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """What was committed is found again by its owner, long before anybody could take it over."""
    monkeypatch.setattr(sender, "DATABASE_PAUSE_SECONDS", 0.01)
    forgetful = Forgetful(pool, lost)
    await record(forgetful, *(envelope(n, application_created()) for n in (1, 2)))
    async with sending(forgetful, Directory(), settings(mail_server, lease="1h", senders=1)):
        await eventually(lambda: _count(forgetful, "sent", 2))

    rows = await forgetful.page(Filter(), 10)
    assert [row["attempts"] for row in rows] == [1, 1]
    assert [row["unknown_outcomes"] for row in rows] == [0, 0]
    assert len(mail_server.taken) == 2


async def test_an_outcome_and_the_next_claim_are_one_step(deliveries: Deliveries) -> None:
    """Half of what a mail costs the database is the commit."""
    await record(deliveries, *(envelope(n, application_created()) for n in (1, 2)))
    first = await deliveries.claim(uuid.uuid4(), LEASE)
    assert first is not None
    later = Verdict(state="due", reason="451", pause=timedelta(0))

    kept, second = await deliveries.settle_and_claim(first, later, LEASE)
    assert second is not None
    again, none = await deliveries.settle_and_claim(first, later, LEASE)
    last = await deliveries.settle_and_claim(second, Verdict(state="sent", reason=None), LEASE)

    assert kept
    # Not the one that has just been settled, although it is due.
    assert second.id != first.id
    # What is not held any more is not settled.
    assert (again, none) == (False, None)
    assert last[0]
    assert last[1] is not None
    assert last[1].id == first.id


async def test_doubt_outlives_a_sender_that_gives_a_delivery_back(deliveries: Deliveries) -> None:
    """The one before it may have sent the mail: where nothing may be sent twice, it is parked."""
    await record_one(deliveries)
    await deliveries.claim(uuid.uuid4(), timedelta(0))
    heir = uuid.uuid4()
    taken = await deliveries.claim(heir, LEASE)
    await deliveries.let_go(heir)
    again = await deliveries.claim(uuid.uuid4(), LEASE)

    assert taken is not None
    assert again is not None
    assert (taken.taken_over, again.taken_over) == (True, True)


async def test_finished_deliveries_are_removed_in_time_and_others_stay(
    deliveries: Deliveries, pool: Pool
) -> None:
    """A batch at a time, by one process at a time; what needs a person stays until it had one."""
    await record(deliveries, *(envelope(n, application_created()) for n in range(8)))
    for verdict in ("sent", "sent", "sent", "suppressed", "parked"):
        claim = await deliveries.claim(uuid.uuid4(), LEASE)
        assert claim is not None
        await deliveries.settle(claim, Verdict(state=verdict, reason=None))
    young = (await deliveries.page(Filter(state="sent"), 1))[0]["id"]
    await pool.execute(
        "UPDATE notifier.deliveries SET created_at = created_at - $1::interval,"
        " finished_at = finished_at - $1::interval WHERE id <> $2",
        KEEP,
        young,
    )
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(hashtext('notifier pruning'))")
        meanwhile = await deliveries.prune(KEEP, 10)
    batches = [await deliveries.prune(KEEP, 2) for _ in range(3)]

    assert (meanwhile, batches) == (0, [2, 1, 0])
    left = await deliveries.page(Filter(), 10)
    assert sorted(row["state"] for row in left) == ["due", "due", "due", "parked", "sent"]


async def test_who_is_forgotten_while_a_mail_is_on_its_way_gets_no_other(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """It is deferred, and tried again for somebody who is not there any more."""
    mail_server.hold()
    mail_server.answer("DATA", "451 4.3.0 later")
    await record_one(deliveries)
    directory = Directory()
    (owner,) = directory.people
    async with sending(deliveries, directory, settings(mail_server)):
        await eventually(lambda: mail_server.taken)
        directory.people.clear()
        await deliveries.forget(owner)
        mail_server.release()
        await eventually(lambda: _count(deliveries, "suppressed", 1))

    assert len(mail_server.taken) == 1
    assert await state(deliveries) == "suppressed"


@pytest.mark.parametrize(
    ("name", "email"),
    [
        ("Ada\r\nBcc: eve@example.com", "ada@example.com"),
        ("Ada\nSubject: free\x00\x0b\x85\u2028money", "ada@example.com"),
        ('Ada" <eve@example.com>, "', "ada@example.com"),
    ],
)
async def test_a_name_cannot_become_a_header_or_another_recipient(
    deliveries: Deliveries, mail_server: SmtpServer, name: str, email: str
) -> None:
    """Nor can an application's."""
    await record_one(deliveries, name=f"CI\r\nBcc: {name}")
    directory = Directory(recipient(email=email, name=name))
    async with sending(deliveries, directory, settings(mail_server)):
        await eventually(lambda: _count(deliveries, "sent", 1))

    (taken,) = mail_server.taken
    message = taken.message
    assert taken.recipients == (email,)
    assert [one.addr_spec for one in message["To"].addresses] == [email]
    assert message["Bcc"] is None
    assert len(message.get_all("Subject", [])) == 1


@pytest.mark.parametrize(
    "email", ["a@b\r\nRCPT TO:<eve@example.com>", "@", "a b@example.com", "ä@example.com", ""]
)
async def test_an_address_that_is_none_is_parked_once_and_says_why(
    deliveries: Deliveries, mail_server: SmtpServer, email: str
) -> None:
    """One attempt, nothing on the wire, and nothing of the address in the reason."""
    await record_one(deliveries)
    directory = Directory(recipient(email=email))
    async with sending(deliveries, directory, settings(mail_server)):
        await eventually(lambda: _count(deliveries, "parked", 1))

    (row,) = await deliveries.page(Filter(state="parked"), 1)
    assert row["attempts"] == 1
    assert "address" in row["last_error"]
    assert not email or email not in row["last_error"]
    assert mail_server.taken == []


async def _count(deliveries: Deliveries, wanted: str, count: int) -> bool:
    states = [row["state"] for row in await deliveries.page(Filter(), 100)]
    return states.count(wanted) == count
