"""One application's whole life, seen by everybody who must know of it."""

import asyncio
import base64
import json
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session

from tests.e2e.subscriber import Subscriber
from tests.e2e.system import Credentials, System
from tests.support.eventually import eventually
from tests.support.smtp_server import SmtpServer

WHOLE_LIFE = [
    "ApplicationCreated",
    "ApplicationDeactivated",
    "ApplicationActivated",
    "ApplicationDeleted",
]


async def test_an_application_lives_and_everybody_knows(
    system: System, amqp_url: str, smtp: SmtpServer
) -> None:
    """The main road: nothing of it may ever break."""
    async with Subscriber(amqp_url) as stranger:
        application = await system.create_by_api("Continuous integration")

        await eventually(lambda: stranger.types_of(application.id) == WHOLE_LIFE[:1])
        _assert_tells_no_secret(stranger, application)

        for token in (
            await asyncio.to_thread(_token_by_requests_oauthlib, system, application),
            await _token_by_authlib(system, application),
        ):
            claims = await asyncio.to_thread(_verified, system, token)
            assert application.client_id == claims["sub"] == claims["client_id"]
            assert claims["scope"] == "applications:read"

        mail = await eventually(lambda: _mail_about(smtp, "Continuous integration"))
        assert "Bob" in str(mail["To"])
        assert application.client_secret not in mail.as_string()

        await _change(system, application, "deactivate")
        await eventually(lambda: system.is_refused(application))
        await _change(system, application, "activate")
        assert await system.gets_token(application), "whoever activates reads the own write"
        answer = await system.api("DELETE", f"/api/applications/{application.id}")
        assert answer.status_code == 204
        await eventually(lambda: system.is_refused(application))
        # Four events, each told to the owner and to the administrator who acted for them.
        await eventually(lambda: _count_about(smtp, application.client_id) == 8)

        await eventually(lambda: stranger.types_of(application.id) == WHOLE_LIFE)
        answer = await system.api("GET", f"/api/applications/{application.id}/events")
        history = answer.json()["items"]
        assert [one["type"] for one in history] == WHOLE_LIFE
        assert [one["version"] for one in history] == [1, 2, 3, 4]
        assert await system.projection_is_true()
        _assert_logs_tell_no_secret(system, application)


async def test_it_lives_as_well_without_a_bus(
    tmp_path: Path, database_url: str, smtp: SmtpServer
) -> None:
    """The bus only tells things sooner; the feed alone is enough."""
    async with System(tmp_path, database_url, smtp_port=smtp.port) as system:
        application = await system.create_by_api("Continuous integration")
        assert await system.gets_token(application)
        await eventually(lambda: _mail_about(smtp, "Continuous integration"))
        await _change(system, application, "deactivate")
        await eventually(lambda: system.is_refused(application))
        await _change(system, application, "activate")
        assert await system.gets_token(application)
        await system.api("DELETE", f"/api/applications/{application.id}")
        await eventually(lambda: system.is_refused(application))


async def test_the_feed_tells_the_same_as_the_bus(system: System, amqp_url: str) -> None:
    """Whoever lost messages reads the same events from the feed, byte for byte the same facts."""
    async with Subscriber(amqp_url) as stranger:
        application = await system.create_by_api("Continuous integration")
        await _change(system, application, "deactivate")
        await eventually(lambda: stranger.types_of(application.id) == WHOLE_LIFE[:2])
        first = stranger.events[0]["sequence"]
        answer = await system.api("GET", f"/api/events?after={first - 1}&limit=1000")
        assert answer.headers["content-type"] == "application/cloudevents-batch+json"
        assert stranger.events == answer.json()


async def test_several_workers_share_one_projector(
    tmp_path: Path, database_url: str, amqp_url: str, smtp: SmtpServer
) -> None:
    """Every worker refuses a deactivated client, whichever of them projects."""
    async with System(tmp_path, database_url, smtp_port=smtp.port, amqp_url=amqp_url) as system:
        await system.token.stop()
        await system.token.start("--workers", "3")
        await system.token.ready()
        application = await system.create_by_api("Continuous integration")
        answers = [await system.gets_token(application) for _ in range(20)]
        assert answers == [True] * 20
        await _change(system, application, "deactivate")
        await eventually(lambda: system.is_refused(application))
        answers = [await system.is_refused(application) for _ in range(20)]
        assert answers == [True] * 20


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_both_ways_of_authentication_work(system: System, method: str) -> None:
    """Both are advertised (RFC 8414), so both have to work with a library that reads that."""
    application = await system.create("Continuous integration")
    token = await _token_by_authlib(system, application, method)
    assert await asyncio.to_thread(_verified, system, token)


async def test_a_rotated_secret_works_beside_the_old_one_until_that_is_revoked(
    system: System,
) -> None:
    """The application changes over without an outage, and then the old one is worth nothing."""
    old = await system.create_by_api("rotated")
    answer = await system.api("POST", f"/api/applications/{old.id}/rotate-secret")
    answer.raise_for_status()
    made = answer.json()
    new = Credentials(old.id, old.client_id, made["client_secret"])

    await eventually(partial(system.gets_token, new))
    assert await system.gets_token(old)
    path = f"/api/applications/{old.id}/secrets/{made['secrets'][0]['id']}"
    assert (await system.api("DELETE", path)).status_code == 204

    await eventually(partial(system.is_refused, old))
    assert await system.gets_token(new)
    await eventually(system.projection_is_true)


async def test_each_service_can_have_several_workers(system: System, smtp: SmtpServer) -> None:
    """They share port, log and work: no event twice, no mail twice, and they end at once."""
    for service in (system.registry, system.token, system.notifier):
        await service.stop()
        await service.start("--workers", "2")
    for service in (system.registry, system.token, system.notifier):
        await service.ready()

    applications = [await system.create_by_api(f"worker {number}") for number in range(8)]
    for application in applications:
        assert await system.gets_token(application)
        await _change(system, application, "deactivate")
    for application in applications:
        await eventually(partial(system.is_refused, application))
        await eventually(partial(_mail_about, smtp, application.client_id))

    positions = [one["sequence"] for one in await system.run("events", "list", "--json")]
    assert positions == list(range(1, len(positions) + 1))
    async with asyncio.timeout(10):
        for service in (system.notifier, system.token, system.registry):
            process = service.process
            await service.stop()
            assert process is not None
            assert process.returncode == 0


def _token_by_requests_oauthlib(system: System, application: Credentials) -> str:
    session = OAuth2Session(client=BackendApplicationClient(client_id=application.client_id))
    with pytest.MonkeyPatch.context() as patch:
        # The library insists on TLS; here all is loopback.
        patch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
        token: dict[str, Any] = session.fetch_token(
            f"{system.token.url}/oauth2-token",
            client_id=application.client_id,
            client_secret=application.client_secret,
        )
    session.close()
    return str(token["access_token"])


async def _token_by_authlib(
    system: System, application: Credentials, method: str = "client_secret_basic"
) -> str:
    async with AsyncOAuth2Client(
        application.client_id,
        application.client_secret,
        token_endpoint_auth_method=method,
        grant_type="client_credentials",
    ) as client:
        token = await client.fetch_token(f"{system.token.url}/oauth2-token")
    return str(token["access_token"])


def _verified(system: System, token: str) -> dict[str, Any]:
    keys = jwt.PyJWKClient(f"{system.token.url}/.well-known/jwks.json")
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    return dict(
        jwt.decode(
            token,
            keys.get_signing_key_from_jwt(token),
            algorithms=["RS256"],
            issuer=system.issuer,
            audience=f"http://localhost:{system.registry.port}",
        )
    )


async def _change(system: System, application: Credentials, how: str) -> None:
    answer = await system.api("POST", f"/api/applications/{application.id}/{how}")
    assert answer.status_code == 200, answer.text


def _count_about(smtp: SmtpServer, client_id: str) -> int:
    return sum(client_id in one.message.as_string() for one in smtp.taken)


def _mail_about(smtp: SmtpServer, name: str) -> Any:
    """Return the mail about a new application for its owner; who acted for them gets another."""
    about = [one.message for one in smtp.taken if name in one.message.as_string()]
    mine = [one for one in about if one["Subject"] == "OAuth application added to your account"]
    assert len(mine) <= 1
    return mine[0] if mine else None


def _assert_tells_no_secret(stranger: Subscriber, application: Credentials) -> None:
    for body in stranger.bodies:
        for hidden in (b"digest", b"private", b"@example.com", b"Bob", b"metadata"):
            assert hidden not in body
        assert application.client_secret.encode() not in body
    assert {"application/cloudevents+json"} == set(stranger.content_types)
    assert "application.created" in stranger.keys
    event = json.loads(stranger.bodies[-1])
    assert event["specversion"] == "1.0"
    assert event["type"] == "oauthapps.ApplicationCreated.v1"


def _assert_logs_tell_no_secret(system: System, application: Credentials) -> None:
    logs = system.logs()
    basic = base64.b64encode(f"{application.client_id}:{application.client_secret}".encode())
    for hidden in (application.client_secret, basic.decode(), "@example.com", "Traceback"):
        assert hidden not in logs
