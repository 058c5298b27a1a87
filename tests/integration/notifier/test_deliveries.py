"""The table: recorded once, claimed by one, changed only by who holds the lease."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

from services.notifier.deliveries import Deliveries, Filter
from services.notifier.outcome import Verdict
from shared.postgres import Pool
from shared.subscription import BEGINNING, Cursor
from tests.integration.notifier.house import EPOCH, only, record, record_one, state
from tests.unit.notifier.factories import application_created, envelope, tokens_revoked

LEASE = timedelta(minutes=15)
SENT = Verdict(state="sent", reason=None)


async def let_leases_run_out(pool: Pool) -> None:
    """Make it the time after every lease."""
    await pool.execute(
        "UPDATE notifier.deliveries SET lease_until = now(), next_attempt_at = now()"
    )


async def test_nothing_has_been_read_at_first(deliveries: Deliveries) -> None:
    """A new notifier begins at the beginning of the log."""
    assert await deliveries.cursor() == BEGINNING


async def test_deliveries_and_cursor_are_stored_together(deliveries: Deliveries) -> None:
    """Otherwise a crash between the two would lose or repeat a mail."""
    await record(deliveries, envelope(1, application_created()), envelope(2, tokens_revoked()))

    assert await deliveries.cursor() == Cursor(EPOCH, 2)
    assert await state(deliveries) == "due"


async def test_the_same_event_twice_is_one_delivery(deliveries: Deliveries) -> None:
    """A restored registry tells its history again; its users have read that mail."""
    event = envelope(1, application_created())
    await record(deliveries, event)
    await record(deliveries, event)

    assert len(await deliveries.page(Filter(), 10)) == 1


async def test_a_repeated_event_does_not_revive_a_finished_delivery(deliveries: Deliveries) -> None:
    """Sent is sent."""
    event = envelope(1, application_created())
    await record(deliveries, event)
    claim = await deliveries.claim(uuid.uuid4(), LEASE)
    assert claim is not None
    await deliveries.settle(claim, SENT)
    await record(deliveries, event)

    assert await state(deliveries) == "sent"


async def test_an_old_event_is_recorded_as_expired(deliveries: Deliveries) -> None:
    """A lost database must not become a flood of old mail, and what was left out must show."""
    now = datetime.now(UTC)
    old = envelope(1, application_created(), time=now - timedelta(days=4))
    await record(deliveries, old, oldest=now - timedelta(days=3))

    assert await state(deliveries) == "expired"
    assert await deliveries.claim(uuid.uuid4(), LEASE) is None


async def test_many_senders_claim_each_delivery_once(deliveries: Deliveries) -> None:
    """Two claims of one delivery would be two mails."""
    events = [envelope(position, application_created()) for position in range(1, 41)]
    await record(deliveries, *events)

    claims = await asyncio.gather(*(deliveries.claim(uuid.uuid4(), LEASE) for _ in range(60)))

    claimed = [one.id for one in claims if one is not None]
    assert len(claimed) == len(set(claimed)) == 40


async def test_a_claimed_delivery_is_nobody_elses_while_the_lease_lasts(
    deliveries: Deliveries,
) -> None:
    """That is what a lease is for."""
    await record_one(deliveries)

    assert await deliveries.claim(uuid.uuid4(), LEASE) is not None
    assert await deliveries.claim(uuid.uuid4(), LEASE) is None


async def test_a_lease_that_ran_out_is_taken_over(deliveries: Deliveries, pool: Pool) -> None:
    """The sender that held it is dead, or as good as."""
    await record_one(deliveries)
    first = await deliveries.claim(uuid.uuid4(), LEASE)
    await let_leases_run_out(pool)
    second = await deliveries.claim(uuid.uuid4(), LEASE)

    assert first is not None
    assert second is not None
    assert (first.taken_over, second.taken_over) == (False, True)
    assert second.attempts == 2


async def test_a_sender_that_lost_its_lease_cannot_change_anything(
    deliveries: Deliveries, pool: Pool
) -> None:
    """A sender that was stopped and comes back must not overwrite what the next one did."""
    await record_one(deliveries)
    zombie = await deliveries.claim(uuid.uuid4(), LEASE)
    await let_leases_run_out(pool)
    heir = await deliveries.claim(uuid.uuid4(), LEASE)
    assert zombie is not None
    assert heir is not None

    assert not await deliveries.settle(zombie, Verdict(state="parked", reason="too late"))
    assert await state(deliveries) == "sending"
    assert await deliveries.settle(heir, SENT)
    assert not await deliveries.settle(zombie, Verdict(state="parked", reason="too late"))
    assert await state(deliveries) == "sent"


async def test_a_delivery_is_not_due_before_its_pause_is_over(deliveries: Deliveries) -> None:
    """A server that said "later" meant it."""
    await record_one(deliveries)
    claim = await deliveries.claim(uuid.uuid4(), LEASE)
    assert claim is not None
    later = Verdict(state="due", reason="451 later", pause=timedelta(hours=1))
    await deliveries.settle(claim, later)

    assert await deliveries.claim(uuid.uuid4(), LEASE) is None
    assert (await only(deliveries))["last_error"] == "451 later"


async def test_what_ends_lets_go_of_what_it_claimed(deliveries: Deliveries) -> None:
    """A restart must not delay a mail until a lease has run out."""
    await record_one(deliveries)
    owner = uuid.uuid4()
    await deliveries.claim(owner, LEASE)
    await deliveries.let_go(owner)

    assert await deliveries.claim(uuid.uuid4(), LEASE) is not None


async def test_a_reason_of_any_kind_can_be_kept(deliveries: Deliveries) -> None:
    """Servers say anything; Postgres does not take everything."""
    await record_one(deliveries)
    claim = await deliveries.claim(uuid.uuid4(), LEASE)
    assert claim is not None
    await deliveries.settle(claim, Verdict(state="parked", reason="\0é" * 5000))

    assert len((await only(deliveries))["last_error"]) <= 500


async def test_an_operator_retries_what_was_parked(deliveries: Deliveries, pool: Pool) -> None:
    """With all its time again: whatever was wrong has been put right just now."""
    await record_one(deliveries)
    claim = await deliveries.claim(uuid.uuid4(), LEASE)
    assert claim is not None
    await deliveries.settle(claim, Verdict(state="parked", reason="550 no"))
    await pool.execute("UPDATE notifier.deliveries SET due_since = due_since - interval '9 days'")

    assert await deliveries.retry(claim.id)
    again = await deliveries.claim(uuid.uuid4(), LEASE)
    assert again is not None
    assert again.attempts == 1
    assert again.waited < timedelta(minutes=1)


async def test_what_was_sent_is_neither_retried_nor_discarded(deliveries: Deliveries) -> None:
    """A second mail would be a lie, and so would "discarded"."""
    await record_one(deliveries)
    claim = await deliveries.claim(uuid.uuid4(), LEASE)
    assert claim is not None
    await deliveries.settle(claim, SENT)

    assert not await deliveries.retry(claim.id)
    assert not await deliveries.discard(claim.id)
    assert await state(deliveries) == "sent"


async def test_a_discarded_delivery_is_not_sent(deliveries: Deliveries) -> None:
    """An operator gave it up."""
    await record_one(deliveries)
    row = await only(deliveries)

    assert await deliveries.discard(uuid.UUID(row["id"]))
    assert await deliveries.claim(uuid.uuid4(), LEASE) is None


async def test_the_backlog_counts_what_waits(deliveries: Deliveries, pool: Pool) -> None:
    """The two figures an operator looks at: how much, and since when."""
    events = [envelope(position, application_created()) for position in (1, 2, 3)]
    await record(deliveries, *events)
    claim = await deliveries.claim(uuid.uuid4(), LEASE)
    assert claim is not None
    await deliveries.settle(claim, Verdict(state="parked", reason="550 no"))
    await pool.execute("UPDATE notifier.deliveries SET due_since = due_since - interval '1 hour'")

    counts, oldest = await deliveries.backlog()

    assert counts == {"due": 2, "parked": 1}
    assert 3600 <= oldest < 3700


async def test_the_search_for_work_uses_its_index(deliveries: Deliveries, pool: Pool) -> None:
    """Finished deliveries grow without end; looking for the next one must not grow with them."""
    await pool.execute(
        """
        INSERT INTO notifier.deliveries (event_id, event_type, position, rule, template, recipient,
                                         context, message_id, state)
        SELECT n::text, 'ApplicationCreated', n, 'r', 't', 'u', '{}', n::text, 'sent'
          FROM generate_series(1, 20000) AS n
        """
    )
    await pool.execute("ANALYZE notifier.deliveries")
    plan = await pool.fetch(
        """
        EXPLAIN SELECT id FROM notifier.deliveries
                 WHERE state IN ('due', 'unknown', 'sending') AND next_attempt_at <= now()
                 ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED
        """
    )

    assert any("deliveries_to_send" in row[0] for row in plan)
