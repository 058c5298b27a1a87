"""How much waits to be sent, and how far the log was read, for `/metrics`."""

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric

from services.notifier.deliveries import Deliveries
from services.notifier.expiries import Expiries
from services.notifier.undecodable import UndecodableEvents
from shared.metrics import Reading

# Finished deliveries are counted as they finish: their table is not counted again and again.
WAITING_STATES = ("due", "unknown", "sending", "parked")

LOG = Reading(
    "oauthapps_notifier_log_info", "Always 1; which history the notifier reads", ["epoch"]
)
POSITION = Reading("oauthapps_notifier_position", "Last event that the notifier has read")
DELIVERIES = Reading("oauthapps_notifier_deliveries", "Deliveries that are not finished", ["state"])
OLDEST_DUE = Reading(
    "oauthapps_notifier_oldest_due_seconds", "How long the oldest unsent delivery has waited"
)
PARKED_EVENTS = Reading(
    "oauthapps_notifier_undecodable_waiting", "Events that wait for a version that can decode them"
)
EXPIRING = Reading(
    "oauthapps_notifier_expiring",
    "Secrets and applications whose end comes within a week, 1000 at most",
    ["what"],
)


class NotifierReadings:
    """Asks the database."""

    def __init__(
        self, deliveries: Deliveries, expiries: Expiries, undecodable: UndecodableEvents
    ) -> None:
        self._deliveries = deliveries
        self._expiries = expiries
        self._undecodable = undecodable

    async def __call__(self) -> Iterable[Metric]:
        """Return the readings. Raises what Postgres raises."""
        cursor = await self._deliveries.cursor()
        counts, oldest = await self._deliveries.backlog()
        secrets, applications = await self._expiries.soon()
        found = [
            POSITION.of(cursor.position),
            *(DELIVERIES.of(counts.get(state, 0), state) for state in WAITING_STATES),
            OLDEST_DUE.of(oldest),
            PARKED_EVENTS.of(await self._undecodable.count()),
            EXPIRING.of(secrets, "secret"),
            EXPIRING.of(applications, "application"),
        ]
        return found if cursor.log_epoch is None else [*found, LOG.of(1, cursor.log_epoch)]
