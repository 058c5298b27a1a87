"""How much of a pool of database connections is in use, for `/metrics`."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from shared.metrics import summed_gauge
from shared.postgres import Pool


class PoolGauges:
    """The gauges of one service's pools: one in each of its worker processes, added up."""

    def __init__(self, connections: str, limit: str) -> None:
        self._connections = summed_gauge(
            connections, "Connections to Postgres, used and idle", ["state"]
        )
        self._limit: Gauge = summed_gauge(limit, "How many connections there may be")

    @contextmanager
    def reading(self, pool: Pool) -> Iterator[None]:
        """Read a pool as long as the block lasts."""
        used, idle = (self._connections.labels(state) for state in ("used", "idle"))
        used.set_function(lambda: pool.get_size() - pool.get_idle_size())
        idle.set_function(pool.get_idle_size)
        self._limit.set(pool.get_max_size())
        try:
            yield
        finally:
            for gauge in (used, idle):
                gauge.set_function(lambda: 0)
            self._limit.set(0)
