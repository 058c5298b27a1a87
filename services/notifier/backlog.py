"""How much waits to be sent, for `/metrics`."""

import asyncio

from prometheus_client import Gauge

from services.notifier.deliveries import Deliveries
from shared.postgres import POSTGRES_ERRORS

OBSERVE_SECONDS = 5.0
# Finished deliveries are counted as they finish: their table is not counted again and again.
WAITING_STATES = ("due", "unknown", "sending", "parked")

DELIVERIES = Gauge("oauthapps_notifier_deliveries", "Deliveries that are not finished.", ["state"])
OLDEST_DUE = Gauge(
    "oauthapps_notifier_oldest_due_seconds", "How long the oldest unsent delivery has waited."
)


async def observe(deliveries: Deliveries) -> None:
    """Keep the figures up to date until cancelled."""
    while True:
        try:
            counts, oldest = await deliveries.backlog()
        except POSTGRES_ERRORS:
            # Told by `/readyz`; the last figures stand.
            pass
        else:
            for state in WAITING_STATES:
                DELIVERIES.labels(state).set(counts.get(state, 0))
            OLDEST_DUE.set(oldest)
        await asyncio.sleep(OBSERVE_SECONDS)
