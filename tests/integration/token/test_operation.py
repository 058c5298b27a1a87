"""The token service while parts of its world come, go and change."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from services.token import key_ring
from services.token.keys import generate
from shared.credentials import new_client_secret
from shared.problem import KEYS_MISSING
from tests.integration.token.house import House
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.readiness import checks, is_ready
from tests.unit.token.factories import Application, envelope


async def status(http: httpx.AsyncClient, form: dict[str, str]) -> int:
    return (await http.post("/token", data=form)).status_code


def assert_unavailable(response: httpx.Response) -> None:
    assert response.status_code == 503
    assert response.json()["error"] == "temporarily_unavailable"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["retry-after"].isdigit()


async def test_without_keys_everything_else_works(house: House) -> None:
    """The sentence is the same everywhere; the JWKS is empty; the service is live."""
    await house.registry.tell(house.application.created())
    async with house.registry.serving(), house.token_service() as http:
        await eventually(lambda: _projection_is_ok(http))

        response = await http.post("/token", data=house.request())

        assert_unavailable(response)
        assert response.json()["error_description"] == KEYS_MISSING
        assert (await http.get("/.well-known/jwks.json")).json() == {"keys": []}
        assert (await http.get("/.well-known/oauth-authorization-server")).status_code == 200
        assert (await http.get("/livez")).status_code == 200
        assert (await http.get("/readyz")).status_code == 503
        assert "no such file; `oauthapps keys generate`" in (await checks(http))["keys"]


async def test_keys_that_appear_are_picked_up_without_a_restart(house: House) -> None:
    """And when they vanish, nothing is signed any more."""
    await house.registry.tell(house.application.created())
    async with house.registry.serving(), house.token_service() as http:
        await eventually(lambda: _projection_is_ok(http))
        assert await status(http, house.request()) == 503

        house.make_keys("RS256")
        await eventually(lambda: _gets_token(http, house.request()))
        (first,) = (await http.get("/.well-known/jwks.json")).json()["keys"]

        (house.var / "oauth_private.key").chmod(0o640)
        await eventually(lambda: _is_unavailable(http, house))
        assert "chmod 600" in (await checks(http))["keys"]

        (house.var / "oauth_private.key").unlink()
        (house.var / "oauth_public.key").unlink()
        house.make_keys("ES256")
        await eventually(lambda: _gets_token(http, house.request()))
        (second,) = (await http.get("/.well-known/jwks.json")).json()["keys"]
        assert (first["alg"], second["alg"]) == ("RS256", "ES256")


async def test_each_fault_of_the_keys_is_said_in_the_log_and_in_the_readiness(
    house: House, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """While the service runs: nobody has to guess why it stopped, and mended keys end it."""
    private, public = house.var / "oauth_private.key", house.var / "oauth_public.key"
    # Too short is what it is about.
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    generate(house.var / "other.key", house.var / "other.pub", "ES256")
    async with house.ready() as http:
        sound = {path: path.read_bytes() for path in (private, public)}
        faults: dict[str, Callable[[], object]] = {
            "not a private key": lambda: private.write_bytes(b"junk"),
            "RSA key of 1024 bits": lambda: private.write_bytes(pem(short)),
            "open to others (mode 0644)": lambda: private.chmod(0o644),
            "is not the public key of": lambda: public.write_bytes(
                (house.var / "other.pub").read_bytes()
            ),
        }
        for said, breaks in faults.items():
            breaks()

            async def is_said(said: str = said) -> bool:
                return said in (await checks(http))["keys"]

            await eventually(is_said)
            assert_unavailable(await http.post("/token", data=house.request()))
            for path, content in sound.items():
                path.write_bytes(content)
            private.chmod(0o600)
            await eventually(lambda: _gets_token(http, house.request()))
        out, err = capfd.readouterr()
        text = out + err + caplog.text
        assert all(said in text for said in faults)


def pem(key: rsa.RSAPrivateKey) -> bytes:
    """Return a key as its file has it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


async def test_a_projection_that_was_never_filled_is_not_relied_on(house: House) -> None:
    """Nobody is told that a client does not exist before the clients are known."""
    house.make_keys()
    async with house.token_service() as http:
        assert_unavailable(await http.post("/token", data=house.request()))
        assert "never filled" in (await checks(http))["projection"]
        assert (await http.get("/livez")).status_code == 200


async def test_who_asks_before_the_clients_are_known_waits_for_them(house: House) -> None:
    """A new replica behind a proxy gets requests as soon as it takes connections."""
    house.make_keys()
    await house.registry.tell(house.application.created())
    house.registry.held.clear()
    async with (
        house.registry.serving(),
        house.token_service(catch_up_timeout=timedelta(seconds=30)) as http,
    ):
        asking = asyncio.create_task(status(http, house.request()))
        await eventually(lambda: house.registry.asked.get("head"))
        assert "never filled" in (await checks(http))["projection"]
        house.registry.held.set()

        assert await asking == 200


async def test_the_service_waits_for_its_registry(house: House) -> None:
    """Order of start does not matter."""
    house.make_keys()
    await house.registry.tell(house.application.created())
    async with house.token_service() as http:
        assert await status(http, house.request()) == 503
        async with house.registry.serving():
            await eventually(lambda: _gets_token(http, house.request()))


async def test_tokens_go_on_while_the_registry_is_down_and_after_a_restart(house: House) -> None:
    """Registry, Postgres and RabbitMQ are not needed to serve a request, nor to start."""
    async with house.ready():
        pass
    nobody = f"amqp://token:secret@127.0.0.1:{free_port()}/"
    async with house.token_service(amqp_url=nobody) as http:
        assert await is_ready(http)
        assert await status(http, house.request()) == 200
        assert await status(http, house.request(client_secret=new_client_secret())) == 401


async def test_past_the_bound_of_staleness_the_service_fails_closed(house: House) -> None:
    """A deactivation that cannot reach us must not be outlived by more than the bound."""
    async with house.ready(max_staleness=timedelta(seconds=1)) as http:
        assert await status(http, house.request()) == 200
        house.registry.held.clear()

        await eventually(lambda: _is_unavailable(http, house))

        assert "more than token.max_staleness" in (await checks(http))["projection"]
        house.registry.held.set()
        await eventually(lambda: is_ready(http))
        assert await status(http, house.request()) == 200


async def test_an_event_that_cannot_be_decoded_is_not_passed_over(
    house: House, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It may be a deactivation: we say where we stand and why, and fail closed by staleness."""
    async with house.ready(max_staleness=timedelta(seconds=1)) as http:
        assert (await checks(http))["subscription"] == "ok"
        good = envelope(2, house.application.updated())
        house.registry.envelopes.append(replace(good, type="ApplicationEaten"))
        await house.registry.tell(house.application.deactivated())

        async def is_told() -> bool:
            return (await checks(http))["subscription"].startswith("position 2: event type 'App")

        await eventually(is_told)
        await eventually(lambda: _is_unavailable(http, house))
        assert "more than token.max_staleness" in (await checks(http))["projection"]
        assert await is_told()
        assert await _position(http, 1)

        # As after an upgrade.
        house.registry.envelopes[1] = good
        await eventually(lambda: _has_status(http, house.request(), 401))
        await eventually(lambda: is_ready(http))
        await eventually(lambda: _is_followed(http))
    out, err = capfd.readouterr()
    assert "ApplicationEaten" in out + err + caplog.text


async def _is_followed(http: httpx.AsyncClient) -> bool:
    return (await checks(http))["subscription"] == "ok"


async def test_a_quiet_log_does_not_look_like_an_outage(house: House) -> None:
    """Nothing happens for longer than the bound, and the registry keeps saying so."""
    async with house.ready(max_staleness=timedelta(seconds=1)) as http:
        feeds = house.registry.asked["feed"]
        # Each long poll lasts a quarter of the bound.
        while house.registry.asked["feed"] < feeds + 8:
            assert await status(http, house.request()) == 200


async def test_the_life_of_an_application_is_followed(house: House) -> None:
    """Deactivate, activate, rotate, revoke, delete: each counts at once."""
    application, new = house.application, new_client_secret()
    async with house.ready() as http:

        async def becomes(expected: int, form: dict[str, str]) -> None:
            await eventually(lambda: _has_status(http, form, expected))

        await house.registry.tell(application.deactivated())
        await becomes(401, house.request())
        await house.registry.tell(application.activated())
        await becomes(200, house.request())

        soon = datetime.now(UTC) + timedelta(milliseconds=700)
        await house.registry.tell(application.rotated(new, others_expire_at=soon))
        await becomes(200, house.request(client_secret=new))
        await becomes(401, house.request())

        await house.registry.tell(application.secret_revoked("s2"))
        await becomes(401, house.request(client_secret=new))
        newest = new_client_secret()
        await house.registry.tell(
            application.rotated(newest, others_expire_at=soon, secret_id="s3")
        )
        await becomes(200, house.request(client_secret=newest))

        await house.registry.tell(application.deleted())
        await becomes(401, house.request(client_secret=newest))


async def test_a_new_client_is_served_at_its_first_request(house: House) -> None:
    """Whoever was told "created" gets a token, though the event has not arrived yet."""
    async with house.ready() as http:
        await house.registry.polled.wait()
        house.registry.held.clear()
        # One poll that was let in before is answered; the next one is held.
        await house.registry.tell(Application().created())
        await eventually(lambda: _position(http, 2))
        application = Application()
        await house.registry.tell(application.created())
        form = house.request(client_id=application.client_id, client_secret=application.secret)
        heads = house.registry.asked.get("head", 0)

        async def let_go() -> None:
            await eventually(lambda: house.registry.asked.get("head", 0) > heads)
            house.registry.held.set()

        found, _ = await asyncio.gather(status(http, form), let_go())
        assert found == 200


async def test_guessing_asks_the_registry_a_bounded_number_of_times(house: House) -> None:
    """Whoever sends made-up credentials must not turn us against the registry."""
    async with house.ready(catch_ups_per_second=2.0) as http:
        for _ in range(40):
            form = house.request(
                client_id=Application().client_id, client_secret=new_client_secret()
            )
            assert await status(http, form) == 401
        for _ in range(40):
            assert await status(http, house.request(client_id="x", client_secret="y")) == 401

        # Two at once, and what is earned meanwhile.
        assert 1 <= house.registry.asked["head"] < 10


async def test_a_catch_up_is_bounded_in_time(house: House) -> None:
    """A projector that does not get on keeps nobody waiting."""
    async with house.ready(catch_up_timeout=timedelta(milliseconds=200)) as http:
        await house.registry.polled.wait()
        house.registry.held.clear()
        # One poll that was let in before is answered; the next one is held.
        await house.registry.tell(Application().created())
        await eventually(lambda: _position(http, 2))
        await house.registry.tell(Application().created())
        form = house.request(client_secret=new_client_secret())

        response = await http.post("/token", data=form)

        assert response.status_code == 401
        assert timedelta(milliseconds=100) < response.elapsed < timedelta(seconds=5)
        house.registry.held.set()


async def test_another_history_replaces_the_projection(house: House) -> None:
    """A restored backup forgets clients, and so do we; nobody is refused meanwhile."""
    other = Application()
    async with house.ready() as http:
        await house.registry.restore(other.created())

        form = house.request(client_id=other.client_id, client_secret=other.secret)
        await eventually(lambda: _gets_token(http, form))
        assert await status(http, house.request()) == 401


async def test_nothing_secret_is_logged(
    house: House, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The log learns why, and which client, and never with which secret."""
    wrong = new_client_secret()
    async with house.ready() as http:
        await http.post("/token", data=house.request(client_secret=wrong))
        await http.post("/token", data=house.request(client_id="<junk>", scope="<junk>"))
    out, err = capfd.readouterr()
    text = out + err + caplog.text

    assert "wrong secret" in text
    assert house.application.client_id in text
    for secret in (wrong, house.application.secret, "<junk>"):
        assert secret not in text


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_ring, "LOOK_SECONDS", 0.05)


async def _projection_is_ok(http: httpx.AsyncClient) -> bool:
    return (await checks(http))["projection"] == "ok"


async def _gets_token(http: httpx.AsyncClient, form: dict[str, str]) -> bool:
    return await status(http, form) == 200


async def _has_status(http: httpx.AsyncClient, form: dict[str, str], expected: int) -> bool:
    return await status(http, form) == expected


async def _is_unavailable(http: httpx.AsyncClient, house: House) -> bool:
    return await status(http, house.request()) == 503


async def _position(http: httpx.AsyncClient, position: int) -> bool:
    text = (await http.get("/metrics")).text
    return f"oauthapps_token_projection_position {position}.0" in text
