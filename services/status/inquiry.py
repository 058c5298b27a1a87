"""What the services say of themselves: `/readyz` and `/metrics` of every replica.

Both are open to whoever reaches the services at all, so it takes no secret and no database, and
what is shown is what alerts are made of. Everything is asked at once, and for a few seconds only.
"""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

from shared.bus import BusUnavailable, look
from shared.config import Settings
from shared.secret_source import bus_source
from shared.trust import trusted

# Longer than `/metrics` takes when a database hangs.
ANSWER_SECONDS = 5.0
RESOLVE_SECONDS = 3.0
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One answer, or the reason why there is none. `ready` is None when it was not reached."""

    service: str
    address: str
    ready: bool | None = None
    checks: Mapping[str, str] = field(default_factory=dict)
    samples: tuple[tuple[str, Labels, float], ...] = ()
    trouble: str | None = None

    def value(self, name: str, **labels: str) -> float | None:
        """Return the first of these, or None."""
        return next((value for one, value in self.all(name) if labels.items() <= one.items()), None)

    def all(self, name: str) -> list[tuple[Labels, float]]:
        """Return every series of a name."""
        return [(labels, value) for one, labels, value in self.samples if one == name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What was found out. `broker` is why RabbitMQ is not well, None when it is."""

    replicas: tuple[Replica, ...]
    broker_asked: bool = False
    broker: str | None = None


async def inquire(settings: Settings) -> Answers:
    """Ask everybody."""
    urls = {
        "registry": settings.registry_url,
        "token": settings.token_url,
        "notifier": settings.notifier_url,
    }
    async with httpx.AsyncClient(verify=trusted(), trust_env=False, timeout=ANSWER_SECONDS) as http:
        asking = asyncio.gather(*(_replicas(http, name, url) for name, url in urls.items()))
        found, (asked, trouble) = await asyncio.gather(asking, _broker(settings))
    replicas = tuple(one for some in found for one in some)
    return Answers(replicas=replicas, broker_asked=asked, broker=trouble)


async def _replicas(http: httpx.AsyncClient, service: str, url: str) -> list[Replica]:
    """Ask each of those that stand behind one name."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    try:
        addresses = await _addresses(host, https=parts.scheme == "https")
    except (OSError, TimeoutError):
        trouble = f"{host} has no address: it does not run, or not under this name"
        return [Replica(service=service, address=host, trouble=trouble)]
    places = [f"[{one}]" if ":" in one else one for one in addresses]
    if port is not None:
        places = [f"{one}:{port}" for one in places]
    return list(
        await asyncio.gather(
            *(
                _replica(http, service, one, f"{parts.scheme}://{one}{parts.path}", parts.netloc)
                for one in places
            )
        )
    )


async def _addresses(host: str, *, https: bool) -> list[str]:
    # A certificate is for the name. And one machine's two addresses are no two replicas.
    if https or host == "localhost":
        return [host]
    async with asyncio.timeout(RESOLVE_SECONDS):
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(one[4][0]) for one in found})


async def _replica(
    http: httpx.AsyncClient, service: str, address: str, url: str, host: str
) -> Replica:
    headers = {"Host": host}
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            readyz, metrics = await asyncio.gather(
                http.get(f"{url}/readyz", headers=headers),
                http.get(f"{url}/metrics", headers=headers),
            )
        said: Any = readyz.json()
        checks = {str(name): str(outcome) for name, outcome in said["checks"].items()}
        samples = tuple(
            (one.name, one.labels, one.value)
            for family in text_string_to_metric_families(metrics.raise_for_status().text)
            for one in family.samples
        )
    except TimeoutError:
        trouble = f"no answer within {ANSWER_SECONDS:g} s"
        return Replica(service=service, address=address, trouble=trouble)
    except httpx.ConnectError:
        trouble = "cannot be reached: it does not run, or not at this address"
        return Replica(service=service, address=address, trouble=trouble)
    except httpx.HTTPError as error:
        trouble = f"no usable answer ({type(error).__name__})"
        return Replica(service=service, address=address, trouble=trouble)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Replica(service=service, address=address, trouble="is not what it should be here")
    return Replica(
        service=service,
        address=address,
        ready=bool(said["ready"]),
        checks=checks,
        samples=samples,
    )


async def _broker(settings: Settings) -> tuple[bool, str | None]:
    """Tell whether RabbitMQ could be asked from here, and why it is not well."""
    bus = bus_source(settings.bus)
    if bus is None:
        return False, None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await look(bus)
    except BusUnavailable as error:
        return True, str(error)
    except TimeoutError:
        return True, f"RabbitMQ: no answer within {ANSWER_SECONDS:g} s"
    return True, None
