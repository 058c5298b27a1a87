"""What the token service says and does while something that it needs is not as it should be."""

import time
from functools import partial
from pathlib import Path

import httpx
import pytest

from services.token import projection, projector
from shared import clock_check
from tests.integration.token.house import House
from tests.integration.token.test_assertions import Client
from tests.support.eventually import eventually
from tests.support.logged import Logged
from tests.support.readiness import checks, is_ready
from tests.support.small_disk import SmallDisk
from tests.unit.token.factories import Application


@pytest.fixture(autouse=True)
def _tries_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "OPEN_SECONDS", 0.05)
    monkeypatch.setattr(projector, "TROUBLE_SECONDS", 0.05)


async def says(http: httpx.AsyncClient, check: str, words: str) -> bool:
    """Tell whether a line of `/readyz` has these words."""
    return words in (await checks(http))[check]


async def test_a_service_credential_that_comes_late_is_waited_for(
    house: House, logged: Logged
) -> None:
    """Whoever makes it may be slower than we are; until then the registry cannot be asked."""
    path = house.var / "service_credential"
    path.rename(house.var / "away")
    house.make_keys()
    await house.registry.tell(house.application.created())
    async with house.served() as http:
        for check in ("secrets", "subscription"):
            await eventually(partial(says, http, check, "no such file; `oauthapps migrate`"))
        assert (await http.get("/livez")).status_code == 200

        (house.var / "away").rename(path)
        await eventually(lambda: is_ready(http))
        await eventually(lambda: says(http, "subscription", "ok"))
        assert (await checks(http))["secrets"] == "ok"
        assert (await http.post("/token", data=house.request())).status_code == 200
    assert logged.count("secret not read") == 1
    assert "Traceback" not in logged.text()


async def test_a_projection_that_cannot_be_opened_is_waited_for(
    house: House, logged: Logged
) -> None:
    """Somebody else's folder, or a file: said once, and tried until it has been put right."""
    folder = house.var / "projection"
    folder.write_text("a file where a folder should be")
    house.make_keys()
    await house.registry.tell(house.application.created())
    async with house.served() as http:
        assert (
            "cannot be opened (File exists); check the folder" in (await checks(http))["projection"]
        )
        assert (await http.get("/livez")).status_code == 200
        assert logged.count("projection cannot be opened") == 1

        folder.unlink()
        await eventually(lambda: is_ready(http))
        assert await tokens(http, house.request()) == 200
    assert logged.count("projection opened") == 1
    assert "Traceback" not in logged.text()


async def test_a_lock_that_cannot_be_taken_is_tried_again(house: House, logged: Logged) -> None:
    """A projector that gave up would be missed an hour later, when the projection is stale."""
    lock = house.var / "projection" / projector.LOCK
    lock.mkdir(parents=True)
    house.make_keys()
    await house.registry.tell(house.application.created())
    async with house.served() as http:
        await eventually(lambda: logged.count("projector cannot be elected") == 1)

        lock.rmdir()
        await eventually(lambda: is_ready(http))
        assert await tokens(http, house.request()) == 200
    assert logged.count("projector can be elected again") == 1


async def test_without_rabbitmq_it_says_why_and_goes_on_by_the_feed(
    house: House, tmp_path: Path, amqp_url: str
) -> None:
    """Ready, and with a part named that is not: the feed tells all that the bus would."""
    wrong = amqp_url.replace(":guest@", ":hunter2@")
    async with house.ready(amqp_url=wrong) as http:
        await eventually(lambda: says(http, "bus", "refuses user 'guest': wrong password"))
        assert await is_ready(http)
        await house.registry.tell(house.application.deactivated())

        async def is_refused() -> bool:
            return (await http.post("/token", data=house.request())).status_code == 401

        await eventually(is_refused)


async def tokens(http: httpx.AsyncClient, form: dict[str, str]) -> int:
    return (await http.post("/token", data=form)).status_code


async def test_a_disk_that_fills_up_stops_nothing_but_what_must_be_written(
    tmp_path: Path, small_disk: SmallDisk, logged: Logged
) -> None:
    """Secrets go on by what is known; what is good only once is refused while nobody can note it.

    And a service that is started then goes on as well.
    """
    house = House(tmp_path)
    (house.var / "projection").symlink_to(small_disk.folder)
    signer = Client(house)
    await house.registry.tell(house.application.created(), signer.created())
    async with house.ready() as http:
        assert (await checks(http))["disk"] == "ok"
        small_disk.fill()
        # Enough for the store to need another page.
        await house.registry.tell(*(Application().created() for _ in range(300)))
        written = "the projection cannot be written (mdb_txn_commit: No space left on device)"
        await eventually(lambda: says(http, "subscription", written))
        await _refuses_what_is_good_once(http, house, signer)
    async with house.served() as http:
        await eventually(lambda: says(http, "subscription", written))
        await _refuses_what_is_good_once(http, house, signer)

        small_disk.clear()
        await eventually(lambda: says(http, "subscription", "ok"))
        assert await tokens(http, signer.form(signer.assertion(aud=house.url))) == 200
        assert set((await checks(http)).values()) == {"ok"}
    assert logged.count("subscription interrupted") == 2
    assert logged.count("assertions and proofs are refused") == 2
    assert "Traceback" not in logged.text()


async def _refuses_what_is_good_once(http: httpx.AsyncClient, house: House, signer: Client) -> None:
    assert await is_ready(http)
    assert "no room on the disk of" in (await checks(http))["disk"]
    assert await tokens(http, house.request()) == 200
    assert await tokens(http, signer.form(signer.assertion(aud=house.url))) == 503
    assert "No space left on device" in (await checks(http))["replays"]


async def test_a_disk_that_is_full_at_the_first_start_is_waited_for(
    tmp_path: Path, small_disk: SmallDisk, logged: Logged
) -> None:
    """LMDB would be killed by its first look at a lock file for which there is no room."""
    house = House(tmp_path)
    (house.var / "projection").symlink_to(small_disk.folder)
    small_disk.fill()
    house.make_keys()
    await house.registry.tell(house.application.created())
    async with house.served() as http:
        assert "cannot be opened (No space left on device)" in (await checks(http))["projection"]
        assert (await http.get("/livez")).status_code == 200
        assert logged.count("projection cannot be opened") == 1
        assert await tokens(http, house.request()) == 503
        assert "oauthapps_ready" in (await http.get("/metrics")).text

        small_disk.clear()
        await eventually(lambda: is_ready(http))
        assert await tokens(http, house.request()) == 200
    assert logged.count("projection opened") == 1
    assert "Traceback" not in logged.text()


async def test_a_clock_that_is_an_hour_off_is_told_until_it_is_right(
    house: House, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens go on: nobody knows which of the two clocks is wrong."""
    monkeypatch.setattr(clock_check, "wall", lambda: time.time() + 3600)
    async with house.ready() as http:
        await eventually(lambda: says(http, "clock", " s ahead of that of the registry at http"))
        assert await is_ready(http)
        assert await tokens(http, house.request()) == 200

        monkeypatch.setattr(clock_check, "wall", time.time)

        async def is_over() -> bool:
            # The registry is asked again when there is news, or the poll ends.
            await house.registry.tell(house.application.updated())
            return await says(http, "clock", "ok")

        await eventually(is_over)
    assert logged.count("clocks differ") == 1
    assert logged.count("clocks agree again") == 1
