"""What breaks during an application's life, and what must hold nevertheless."""

import asyncio
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.e2e.subscriber import Subscriber
from tests.e2e.system import Credentials, System
from tests.support.eventually import eventually
from tests.support.private_broker import PrivateBroker
from tests.support.smtp_server import Drop, SmtpServer
from tests.support.tcp_proxy import TcpProxy

CREATED_AND_DEACTIVATED = ["ApplicationCreated", "ApplicationDeactivated"]


def through(proxy: TcpProxy, url: str) -> str:
    """Return the URL with the proxy in place of the server."""
    parts = urlsplit(url)
    user, _, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}"))


def proxy_for(url: str) -> TcpProxy:
    """Return a proxy in front of a server."""
    parts = urlsplit(url)
    return TcpProxy((parts.hostname or "127.0.0.1", parts.port or 5672))


async def deactivated(system: System, name: str) -> Credentials:
    """Create an application, see that it works, deactivate it."""
    application = await system.create_by_api(name)
    assert await system.gets_token(application)
    await system.api("POST", f"/api/applications/{application.id}/deactivate")
    return application


async def test_nothing_is_lost_while_the_broker_is_away(
    tmp_path: Path, database_url: str, private_broker: PrivateBroker, smtp: SmtpServer
) -> None:
    """The log is the outbox: what the broker missed it gets later, and our own do not wait."""
    url = private_broker.url
    async with System(tmp_path, database_url, smtp_port=smtp.port, amqp_url=url) as system:
        async with Subscriber(url):
            before = await system.create_by_api("before")
        await private_broker.kill()
        during = await deactivated(system, "during")
        await eventually(lambda: system.is_refused(during))
        await eventually(lambda: "during" in "".join(m.message.as_string() for m in smtp.taken))
        await private_broker.start()
        async with Subscriber(url) as stranger:
            await eventually(
                lambda: stranger.types_of(during.id) == CREATED_AND_DEACTIVATED, seconds=30
            )
            after = await deactivated(system, "after")
            await eventually(lambda: stranger.types_of(after.id) == CREATED_AND_DEACTIVATED)
            positions = [one["sequence"] for one in stranger.events]
            assert list(range(positions[0], positions[-1] + 1)) == positions
        assert await system.gets_token(before)
        assert await system.projection_is_true()


@pytest.mark.parametrize("between", ["commit and publish", "publish and confirm"])
async def test_a_registry_killed_in_the_middle_publishes_after_its_return(
    tmp_path: Path, database_url: str, amqp_url: str, smtp: SmtpServer, between: str
) -> None:
    """The cursor moves after the confirm, so a crash repeats a message and never skips one."""
    async with proxy_for(amqp_url) as proxy:
        url = through(proxy, amqp_url)
        async with (
            System(tmp_path, database_url, smtp_port=smtp.port, amqp_url=url) as system,
            Subscriber(amqp_url) as stranger,
        ):
            first = await system.create_by_api("first")
            await eventually(lambda: stranger.types_of(first.id))
            if between == "commit and publish":
                proxy.hold_upstream()
            else:
                proxy.hold_downstream()
            application = await system.create_by_api("second")
            if between == "publish and confirm":
                await eventually(lambda: stranger.types_of(application.id))
            else:
                assert not stranger.types_of(application.id)
            await system.registry.kill()
            await proxy.release()
            await system.registry.start()
            await system.registry.ready()
            await eventually(lambda: stranger.types_of(application.id) == ["ApplicationCreated"])
            last = await system.create_by_api("third")
            await eventually(lambda: stranger.types_of(last.id))
            assert await system.gets_token(application)
            assert await system.projection_is_true()


async def test_a_killed_token_service_answers_as_before_without_anybody_else(
    system: System,
) -> None:
    """Restart needs no replay, no registry, no Postgres and no broker."""
    application = await system.create_by_api("stays")
    gone = await deactivated(system, "gone")
    await eventually(lambda: system.is_refused(gone))
    await system.token.kill()
    await system.registry.kill()
    await system.token.start()
    await system.token.ready()
    assert await system.gets_token(application)
    assert await system.is_refused(gone)
    await system.registry.start()
    await system.registry.ready()
    assert await eventually(system.projection_is_true)


async def test_a_token_service_killed_while_events_come_catches_up(system: System) -> None:
    """Cursor and rows are one transaction: wherever it dies, it goes on from there."""
    await system.api("GET", "/api/applications")
    before = [asyncio.create_task(system.create(f"before {number}")) for number in range(4)]
    await system.token.kill()
    applications = await asyncio.gather(*before)
    await system.token.start()
    await system.token.ready()
    applications += await asyncio.gather(*(system.create(f"after {n}") for n in range(4)))
    for application in applications:
        await eventually(partial(system.gets_token, application))
    assert await eventually(system.projection_is_true)


async def test_a_notifier_killed_before_it_sends_sends_after_its_return(
    tmp_path: Path, database_url: str, amqp_url: str, smtp: SmtpServer
) -> None:
    """The delivery and the cursor were stored together; the lease of the dead runs out."""
    settings = {"OAUTHAPPS_NOTIFIER__LEASE": "1s"}
    async with System(
        tmp_path, database_url, smtp_port=smtp.port, amqp_url=amqp_url, settings=settings
    ) as system:
        smtp.answer("MAIL", "451 4.3.0 not now", times=1)
        await system.create("announced")
        await eventually(lambda: _deliveries(system, attempted=True))
        await system.notifier.kill()
        await system.notifier.start()
        await system.notifier.ready()
        await eventually(lambda: len(smtp.taken) == 1)
        await eventually(lambda: _deliveries(system, state="sent"))


async def test_a_mail_whose_answer_was_lost_is_sent_again_under_the_same_id(
    system: System, smtp: SmtpServer
) -> None:
    """Between the dot and the 250 nobody can know; the reader's program can tell a repeat."""
    smtp.drop(Drop.BEFORE_ANSWER)
    await system.create("announced")
    await eventually(lambda: len(smtp.taken) == 2)
    assert len({one.message["Message-ID"] for one in smtp.taken}) == 1
    await eventually(lambda: _deliveries(system, state="sent"))


async def test_a_disabled_owner_loses_every_application_at_once(system: System) -> None:
    """Whoever leaves the house leaves no credential that works."""
    applications = [await system.create(f"application {number}") for number in range(3)]
    await system.run("users", "disable", "bob@example.com")
    for application in applications:
        await eventually(partial(system.is_refused, application))
    answer = await system.api(
        "POST", "/api/applications", {"name": "more", "owner": "bob@example.com"}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "#/owner"
    activation = await system.api("POST", f"/api/applications/{applications[0].id}/activate")
    assert activation.status_code == 422


async def _deliveries(system: System, *, state: str | None = None, attempted: bool = False) -> bool:
    rows = await system.run("notifications", "list", "--json")
    return any(
        (state is None or row["state"] == state) and (not attempted or row["attempts"] > 0)
        for row in rows
    )
