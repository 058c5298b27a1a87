"""One application's whole life, as the outside sees it over the published ports."""

import asyncio
from typing import Any
from urllib.parse import quote

import aio_pika
import httpx
import jwt
import pytest
from aio_pika.exceptions import AMQPError

from shared.bus import INTERNAL_EXCHANGE
from tests.compose.stack import PASSWORD, Stack
from tests.e2e.subscriber import Subscriber
from tests.integration.pages.visitor import Visitor
from tests.support.eventually import eventually

NAME = "Continuous integration"


@pytest.fixture
async def subscriber_url(stack: Stack) -> str:
    """Where a foreign system reaches RabbitMQ, with the password that is for them."""
    password = (await stack.secrets())["subscriber_bus_password"]
    return f"amqp://subscriber:{quote(password, safe='')}@{stack.bus}/"


def verified(stack: Stack, token: str) -> dict[str, Any]:
    keys = jwt.PyJWKClient(f"{stack.url['token']}/.well-known/jwks.json")
    return dict(
        jwt.decode(
            token,
            keys.get_signing_key_from_jwt(token),
            algorithms=["RS256"],
            issuer=stack.url["token"],
            audience=stack.url["registry"],
        )
    )


async def test_an_application_lives_and_everybody_knows(stack: Stack, subscriber_url: str) -> None:
    """The main road: nothing of it may ever break."""
    async with Subscriber(subscriber_url, prefix="subscriber") as stranger:
        application = await stack.create(NAME)

        answer = await stack.request_token(application)
        assert answer.status_code == 200, answer.text
        claims = await asyncio.to_thread(verified, stack, answer.json()["access_token"])
        assert application.client_id == claims["sub"] == claims["client_id"]
        (mail,) = await eventually(lambda: stack.mails_about(NAME))
        assert mail["Subject"] == "OAuth application added to your account"

        await stack.deactivate(application)
        await eventually(lambda: stack.is_refused(application))
        both = ["ApplicationCreated", "ApplicationDeactivated"]
        await eventually(lambda: stranger.types_of(application.id) == both)
        events = (await stack.api("GET", f"/api/applications/{application.id}/events")).json()
        assert [one["version"] for one in events["items"]] == [1, 2]
        listed = await stack.run("events", "list", "--json")
        assert [one["sequence"] for one in listed] == list(range(1, len(listed) + 1))
    # Fails with another exit status than 0.
    await eventually(lambda: stack.run("status"))


async def test_somebody_logs_in(stack: Stack) -> None:
    """The pages are behind Caddy too."""
    async with httpx.AsyncClient(base_url=stack.url["registry"]) as http:
        visitor = Visitor(http)
        await visitor.log_in("bob@example.com", PASSWORD)
        assert "Bob" in visitor.page


@pytest.mark.parametrize("service", ["registry", "token", "notifier"])
@pytest.mark.parametrize("path", ["/internal/feed", "/metrics", "/readyz", "/livez"])
async def test_what_is_between_services_is_not_to_be_seen(
    stack: Stack, service: str, path: str
) -> None:
    """It is there inside, and Caddy says that it is not."""
    assert (await stack.http.get(f"{stack.url[service]}{path}")).status_code == 404


async def test_a_foreign_system_neither_writes_nor_reads_what_is_ours(subscriber_url: str) -> None:
    """Internal envelopes have digests of secrets in them; what is published is believed."""
    async with await aio_pika.connect(subscriber_url, timeout=10) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("subscriber.curious", exclusive=True)
        with pytest.raises(AMQPError, match="ACCESS_REFUSED"):
            await queue.bind(INTERNAL_EXCHANGE, "#")
        other = await connection.channel()
        exchange = await other.get_exchange("oauthapps.events", ensure=False)
        with pytest.raises(AMQPError, match="ACCESS_REFUSED"):
            await exchange.publish(aio_pika.Message(b"x"), "application.created")
