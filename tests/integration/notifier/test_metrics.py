"""What Prometheus is told of mail."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client import REGISTRY

from services.notifier.deliveries import Deliveries
from shared.postgres import Pool
from tests.integration.notifier.house import EPOCH, Directory, record, sending, settings, state
from tests.integration.notifier.test_app import served
from tests.support.eventually import eventually
from tests.support.exposition import scraped, value
from tests.support.ports import free_port
from tests.support.smtp_server import SmtpServer
from tests.unit.notifier.factories import application_created, envelope

SECONDS = "oauthapps_notifier_event_to_mail_seconds"


async def test_what_waits_is_told_by_state_and_for_how_long(
    deliveries: Deliveries, pool: Pool, tmp_path: Path, database_url: str
) -> None:
    """Parked mail needs a person; mail that is due for an hour, a mail server."""
    await record(deliveries, *(envelope(n, application_created()) for n in (1, 2, 3)))
    # In an hour: nobody sends them under the eyes of the test.
    await pool.execute(
        "UPDATE notifier.deliveries"
        " SET next_attempt_at = now() + interval '1 hour', due_since = now() - interval '1 hour'"
    )
    await pool.execute("UPDATE notifier.deliveries SET state = 'parked' WHERE position = 3")
    async with served(tmp_path, database_url) as http:
        found = await scraped(http)

    told = {
        dict(labels).get("state"): n for (name, labels), n in found.items() if "deliver" in name
    }
    assert told == {"due": 2, "unknown": 0, "sending": 0, "parked": 1}
    assert 3600 <= found["oauthapps_notifier_oldest_due_seconds", ()] < 3700
    assert found["oauthapps_notifier_position", ()] == 3
    assert found["oauthapps_notifier_log_info", (("epoch", EPOCH),)] == 1
    assert found["oauthapps_notifier_undecodable_waiting", ()] == 0
    assert found["oauthapps_notifier_database_connections_limit", ()] == 8


async def test_ends_that_come_within_a_week_are_told(
    pool: Pool, tmp_path: Path, database_url: str
) -> None:
    """Their owners have mail; an operator sees how many there will be to ask for new ones."""
    now = datetime.now(UTC)
    await pool.executemany(
        """
        INSERT INTO notifier.expiries (id, is_secret, hint, expires_at, known_since,
                                       application_id, client_id, organization_id, owner_id, name)
        VALUES ($1, $2, '', $3, $4, 'a', 'c', 'o', 'u', 'CI')
        """,
        [
            ("soon", True, now + timedelta(days=6), now),
            ("later", True, now + timedelta(days=8), now),
            ("application", False, now + timedelta(hours=1), now),
        ],
    )
    async with served(tmp_path, database_url) as http:
        name = "oauthapps_notifier_expiring"

        assert [await value(http, name, what=one) for one in ("secret", "application")] == [1, 1]


async def test_a_database_that_is_away_has_no_figures(tmp_path: Path) -> None:
    """What is not known is not shown; that it is away is."""
    async with served(tmp_path, f"postgresql://x@127.0.0.1:{free_port()}/x") as http:
        found = await scraped(http)

    assert ("oauthapps_notifier_oldest_due_seconds", ()) not in found
    assert found["oauthapps_ready", (("service", "notifier"),)] == 0


async def test_the_time_from_an_event_to_its_mail_is_counted(
    deliveries: Deliveries, mail_server: SmtpServer
) -> None:
    """From what happened, not from when it was heard of: that is what a reader waits."""
    happened = datetime.now(UTC) - timedelta(seconds=100)
    before = _counted()
    await record(deliveries, envelope(1, application_created(), time=happened))
    async with sending(deliveries, Directory(), settings(mail_server)):
        await eventually(lambda: _is_sent(deliveries))

    assert [a - b for a, b in zip(_counted(), before, strict=True)] == [0, 1, 1]


def _counted() -> list[float]:
    """Return how many mails took up to a minute, up to five minutes, and at all."""
    upto = [
        REGISTRY.get_sample_value(f"{SECONDS}_bucket", {"le": one}) for one in ("60.0", "300.0")
    ]
    return [one or 0.0 for one in (*upto, REGISTRY.get_sample_value(f"{SECONDS}_count"))]


async def _is_sent(deliveries: Deliveries) -> bool:
    return await state(deliveries) == "sent"
