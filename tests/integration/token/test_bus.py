"""The projection over a real RabbitMQ: told soon by the bus, told surely by the feed."""

from datetime import timedelta
from typing import Any

import httpx

from shared.bus import Publisher, open_publisher
from tests.integration.token.house import House
from tests.support.eventually import eventually

# So long that nothing but the bus can bring an event within a test.
RARELY = timedelta(minutes=5)


async def publish(publisher: Publisher, house: House, *positions: int) -> None:
    for position in positions:
        await publisher.publish(house.registry.envelopes[position - 1], house.registry.log_epoch)


async def _has_status(http: httpx.AsyncClient, form: dict[str, str], expected: int) -> bool:
    return (await http.post("/token", data=form)).status_code == expected


def publisher_to(amqp_url: str) -> Any:
    return open_publisher(amqp_url, source="http://registry.example", timeout_seconds=10)


async def test_a_published_deactivation_counts_at_once(house: House, amqp_url: str) -> None:
    """Nobody waits for the next look at the feed."""
    async with (
        publisher_to(amqp_url) as publisher,
        house.ready(amqp_url=amqp_url, head_check=RARELY) as http,
    ):
        await eventually(lambda: _is_bound(publisher, house, http))
        await house.registry.tell(house.application.deactivated())
        await publish(publisher, house, len(house.registry.envelopes))

        await eventually(lambda: _has_status(http, house.request(), 401))


async def test_lost_repeated_and_reordered_messages_cost_nothing_but_time(
    house: House, amqp_url: str
) -> None:
    """The gap is filled from the feed; what was seen is dropped."""
    async with (
        publisher_to(amqp_url) as publisher,
        house.ready(amqp_url=amqp_url, head_check=RARELY) as http,
    ):
        await eventually(lambda: _is_bound(publisher, house, http))
        known = len(house.registry.envelopes)
        application = house.application
        await house.registry.tell(
            application.deactivated(), application.activated(), application.deactivated()
        )

        await publish(publisher, house, known + 3, known, known + 1, known + 3, known + 2)

        await eventually(lambda: _has_status(http, house.request(), 401))


async def _is_bound(publisher: Publisher, house: House, http: httpx.AsyncClient) -> bool:
    """Tell events until one arrives by the bus: from then on its queue is there."""
    await house.registry.tell(house.application.updated())
    position = len(house.registry.envelopes)
    await publish(publisher, house, position)
    text = (await http.get("/metrics")).text
    return f"oauthapps_token_projection_position {position}.0" in text
