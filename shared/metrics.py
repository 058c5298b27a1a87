"""What `/metrics` shows: what was counted, by all worker processes, and what is so at this moment.

Counters and histograms are those of prometheus_client: in memory, which is all that a request pays
for. What can be read where it is kept, such as a position, is a `Reading`: asked for when somebody
looks, and not shown while it is not known.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from itertools import chain
from typing import ClassVar

from prometheus_client import REGISTRY, Gauge, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from shared.logs import get_logger
from shared.tally import SUMMED, Tally, running

VERSION = version("oauthapps")
# Of all that is asked at once; a database that hangs must not hold up the rest. Longer than the
# checks of `/readyz` take, which are asked like the others.
ANSWER_SECONDS = 3.0
# What a worker that is killed has counted since is lost. Shorter than any scrape interval.
KEEP_SECONDS = 1.0
Observe = Callable[[], Awaitable[Iterable[Metric]]]
log = get_logger(__name__)

# When a series began: nobody asked for it, and it doubles the number of them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Reading:
    """A gauge that nobody keeps: it is read when it is asked for."""

    # What there is to ask for, as the library knows its own.
    all: ClassVar[list["Reading"]] = []

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.labels = tuple(labels)
        self._documentation = documentation
        self.all.append(self)

    def of(self, value: float, *labels: str) -> Metric:
        """Return what it reads."""
        found = Metric(self.name, self._documentation, "gauge")
        found.add_sample(self.name, dict(zip(self.labels, labels, strict=True)), value)
        return found


BUILD = Reading("oauthapps_build_info", "Always 1; what runs", ["version"])


def summed_gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
    """Return a gauge of which each worker process has its part."""
    SUMMED.add(name)
    return Gauge(name, documentation, labels)


_observers: list[Observe] = []


@asynccontextmanager
async def observing(*observers: Observe) -> AsyncIterator[None]:
    """Let `/metrics` ask these as long as the block lasts; keep what this process counts."""
    _observers.extend(observers)
    tally = running()
    keeping = None if tally is None else asyncio.create_task(_keep_forever(tally))
    try:
        yield
    finally:
        for one in observers:
            _observers.remove(one)
        if keeping is not None and tally is not None:
            keeping.cancel()
            tally.keep()


async def exposition(*also: Observe) -> bytes:
    """Return all there is to tell, in the text format of Prometheus."""
    observed = await asyncio.gather(*(_observed(one) for one in (*also, *_observers)))
    tally = running()
    counted = REGISTRY.collect() if tally is None else tally.collect()
    read = chain.from_iterable(observed)
    return generate_latest(_Told([*counted, BUILD.of(1, VERSION), *read]))


async def _observed(observe: Observe) -> list[Metric]:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return list(await observe())
    except Exception as error:  # noqa: BLE001 - what cannot be read is not shown; the rest is
        # Why not is told by `/readyz`.
        log.debug("not observed", reason=type(error).__name__)
        return []


class _Told(Collector):
    """Families as they come; those of one name are one."""

    def __init__(self, found: Iterable[Metric]) -> None:
        self._by_name: dict[str, Metric] = {}
        for one in found:
            if one.name in self._by_name:
                self._by_name[one.name].samples.extend(one.samples)
            else:
                self._by_name[one.name] = one

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._by_name.values()


async def _keep_forever(tally: Tally) -> None:
    while True:
        tally.keep()
        await asyncio.sleep(KEEP_SECONDS)
