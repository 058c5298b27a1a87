"""Where projection and keys stand, for `/metrics`: the same whichever worker process is asked."""

from collections.abc import Iterable
from contextlib import suppress

from prometheus_client.metrics_core import Metric

from services.token.key_ring import KeyRing
from services.token.projection import Projection, ProjectionUnavailable
from shared.config import Settings
from shared.metrics import Reading

LOG = Reading(
    "oauthapps_token_log_info", "Always 1; which history the projection follows", ["epoch"]
)
POSITION = Reading("oauthapps_token_projection_position", "Last event in the projection")
STALENESS = Reading(
    "oauthapps_token_projection_staleness_seconds",
    "Time since the projection was known to be at the head of the log",
)
LONGEST = Reading(
    "oauthapps_token_projection_staleness_limit_seconds",
    "token.max_staleness: past it no tokens are issued",
)
CLIENTS = Reading("oauthapps_token_clients", "Clients in the projection")
KEY = Reading(
    "oauthapps_token_key_info",
    "Always 1; the published keys: current, next and previous",
    ["kid", "algorithm", "state"],
)
MADE = Reading(
    "oauthapps_token_signing_key_made_timestamp_seconds",
    "When the key that signs was made: the time of its file",
)
CHANGES = Reading(
    "oauthapps_token_keys_next_step_timestamp_seconds",
    "When the next key signs, or a previous one goes; not there without a rotation",
)


class TokenReadings:
    """Looks at the store and at the key files."""

    def __init__(self, projection: Projection, keys: KeyRing, settings: Settings) -> None:
        self._projection = projection
        self._keys = keys
        self._longest = settings.token.max_staleness.total_seconds()

    async def __call__(self) -> Iterable[Metric]:
        """Return the readings."""
        found = [
            STALENESS.of(self._projection.staleness()),
            LONGEST.of(self._longest),
            *(KEY.of(1, *part) for part in self._keys.parts()),
        ]
        # Not while it is not open.
        with suppress(ProjectionUnavailable):
            cursor = self._projection.cursor()
            found += [POSITION.of(cursor.position), CLIENTS.of(self._projection.count())]
            if cursor.log_epoch is not None:
                found.append(LOG.of(1, cursor.log_epoch))
        if (made_at := self._keys.made_at()) is not None:
            found.append(MADE.of(made_at))
        if (changes_at := self._keys.changes_at()) is not None:
            found.append(CHANGES.of(changes_at.timestamp()))
        return found
