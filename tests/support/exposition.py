"""Reading `/metrics` as Prometheus does."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, tuple[tuple[str, str], ...]]


def parsed(text: str) -> dict[Series, float]:
    """Return every series and its value."""
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


async def scraped(http: httpx.AsyncClient) -> dict[Series, float]:
    """Ask once."""
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    return parsed(answer.text)


async def value(http: httpx.AsyncClient, name: str, **labels: str) -> float | None:
    """Return what one series tells; None when there is none of that name with these labels."""
    return (await scraped(http)).get((name, tuple(sorted(labels.items()))))


async def ours(http: httpx.AsyncClient) -> set[Series]:
    """Return the series that we make."""
    return {one for one in await scraped(http) if one[0].startswith("oauthapps_")}
