"""One key follows the other, by time, and no token is ever signed with a key nobody knows."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.token import key_ring
from services.token.key_files import KeyUnusable
from services.token.key_ring import KeyRing
from services.token.keys import generate, load
from services.token.rotation import GRACE, KeyPlaces, NotWithdrawn, RotationUnderWay

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
AHEAD, LIFETIME = timedelta(minutes=10), timedelta(hours=1)


class House:
    """A folder with keys, a clock, and token services that share both."""

    def __init__(self, folder: Path) -> None:
        self.places = KeyPlaces(folder / "oauth_private.key", folder / "oauth_public.key")
        self.first = generate(self.places.private, self.places.public, "ES256")
        self.now = NOON
        self.rings = [self.ring(), self.ring()]

    def ring(self) -> KeyRing:
        """Return the keys as another process sees them."""
        return KeyRing(self.places.private, self.places.public, clock=lambda: self.now)

    def rotate(self) -> str:
        """Plan the next key; return its id."""
        plan = self.places.rotate(algorithm=None, ahead=AHEAD, lifetime=LIFETIME, now=self.now)
        assert plan.successor is not None
        return plan.successor.kid

    def seen(self) -> tuple[str, list[str]]:
        """Return which key signs and which are published; all processes say the same."""
        found = []
        for ring in self.rings:
            current = ring.current()
            assert current is not None, ring.trouble
            found.append((current.kid, [str(one["kid"]) for one in ring.published()]))
        assert all(one == found[0] for one in found)
        return found[0]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """Keys that are looked at whenever they are asked for."""
    monkeypatch.setattr(key_ring, "LOOK_SECONDS", 0.0)
    return House(tmp_path)


def test_a_key_is_published_before_it_signs_and_after(house: House) -> None:
    """Next, then current, then previous, and gone once its last token has expired."""
    first = house.first.kid
    assert house.seen() == (first, [first])
    second = house.rotate()
    assert house.seen() == (first, [first, second])
    house.now += AHEAD - timedelta(seconds=1)
    assert house.seen() == (first, [first, second])
    house.now += timedelta(seconds=1)
    assert house.seen() == (second, [second, first])
    house.now += LIFETIME + GRACE - timedelta(seconds=1)
    assert house.seen() == (second, [second, first])
    house.now += timedelta(seconds=1)
    assert house.seen() == (second, [second])


def test_the_key_that_signs_gets_the_usual_names(house: House) -> None:
    """Nothing is left of the private half of the one before."""
    second = house.rotate()
    house.now += AHEAD
    house.seen()

    assert load(house.places.private, house.places.public).kid == second
    assert not house.places.next_private.exists()
    assert not house.places.next_public.exists()
    assert house.places.private.stat().st_mode & 0o777 == 0o600
    left = "".join(one.read_text() for one in house.places.private.parent.iterdir())
    assert left.count("BEGIN PRIVATE KEY") == 1
    assert '"d"' not in left


def test_a_rotation_under_way_is_not_overtaken(house: House) -> None:
    """The key before would vanish with tokens of it in use."""
    house.rotate()
    with pytest.raises(RotationUnderWay, match="signs from 2026-11-24T12:10:00"):
        house.rotate()
    house.now += AHEAD
    third = house.rotate()

    current, published = house.seen()
    assert (len(published), published[1]) == (3, third)
    assert current != house.first.kid
    assert house.first.kid in published


def test_a_key_that_has_leaked_is_withdrawn_at_once(house: House) -> None:
    """Whoever has it makes tokens for any client, as long as it is published."""
    second = house.rotate()
    for kid in (house.first.kid, second):
        with pytest.raises(NotWithdrawn, match="first `keys rotate --ahead 0s`"):
            house.places.withdraw(kid, now=house.now)
    house.now += AHEAD
    third = house.rotate()
    house.now += AHEAD
    house.places.withdraw(second, now=house.now)

    assert house.seen() == (third, [third, house.first.kid])
    for kid in (third, second, "another"):
        with pytest.raises(NotWithdrawn):
            house.places.withdraw(kid, now=house.now)
    assert house.seen() == (third, [third, house.first.kid])


def test_a_folder_that_cannot_be_written_does_as_well(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where keys are mounted from elsewhere: the plan is carried out by time."""
    second = house.rotate()

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(KeyPlaces, "finish", refuse)
    house.now += AHEAD
    assert house.seen() == (second, [second, house.first.kid])
    assert house.places.next_private.exists()


@pytest.mark.parametrize("moved", [1, 2])
def test_a_move_that_breaks_off_halfway_disturbs_nobody(house: House, moved: int) -> None:
    """After the private half, or after both and before the plan; the next one finishes it."""
    second = house.rotate()
    house.now += AHEAD
    pairs = [
        (house.places.next_private, house.places.private),
        (house.places.next_public, house.places.public),
    ]
    for source, place in pairs[:moved]:
        source.replace(place)

    assert house.seen() == (second, [second, house.first.kid])
    house.places.finish(house.now)
    assert load(house.places.private, house.places.public).kid == second


def test_files_that_were_left_by_one_that_broke_off_are_made_anew(house: House) -> None:
    """Nobody knows that key: it was never published."""
    generate(house.places.next_private, house.places.next_public, "ES256")

    assert house.seen()[1] == [house.first.kid]
    second = house.rotate()
    assert load(house.places.next_private, house.places.next_public).kid == second


def test_files_that_move_while_they_are_read_are_read_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may be at it at any moment."""
    second = house.rotate()
    house.now += AHEAD
    reads = []
    real = KeyPlaces.read_plan

    def read_plan(places: KeyPlaces) -> object:
        plan = real(places)
        reads.append(plan)
        if len(reads) == 1:
            house.places.next_private.replace(house.places.private)
            house.places.next_public.replace(house.places.public)
        return plan

    monkeypatch.setattr(KeyPlaces, "read_plan", read_plan)
    usual, following, _ = house.places.read()

    assert (usual.kid, following) == (second, None)


def test_files_that_are_replaced_all_at_once_while_they_are_read_are_read_again(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where they are mounted: the next key of a later rotation must not sign before its turn."""
    second = house.rotate()
    house.now += AHEAD
    mount = tmp_path / "mount"
    mount.symlink_to(shutil.copytree(tmp_path, tmp_path.with_name("before")))
    house.now += LIFETIME
    house.places.finish(house.now)
    third = house.rotate()
    after = shutil.copytree(tmp_path, tmp_path.with_name("after"), symlinks=True)
    mounted = KeyPlaces(mount / house.places.private.name, mount / house.places.public.name)
    real = KeyPlaces.read_plan

    def read_plan(places: KeyPlaces) -> object:
        plan = real(places)
        mount.unlink()
        mount.symlink_to(after)
        return plan

    monkeypatch.setattr(KeyPlaces, "read_plan", read_plan)
    usual, following, plan = mounted.read()

    assert following is not None
    assert plan.successor is not None
    assert (usual.kid, following.kid, plan.successor.kid) == (second, third, third)


def test_a_plan_that_is_none_is_said_with_the_remedy(house: House) -> None:
    """The service says why it has stopped, and goes on when it is mended."""
    house.rotate()
    sound = house.places.plan.read_text()
    house.places.plan.write_text("{")
    ring = house.rings[0]

    assert ring.current() is None
    assert "not the plan of a rotation; restore it" in str(ring.trouble)
    with pytest.raises(KeyUnusable, match=r"rotation\.json"):
        house.rotate()
    house.places.plan.write_text(sound)
    assert house.seen()[0] == house.first.kid


def test_the_plan_has_nothing_private(house: House) -> None:
    """It is published, in part."""
    house.rotate()
    plan = json.loads(house.places.plan.read_text())

    assert set(plan) == {"successor", "predecessors"}
    assert {"d", "p", "q"}.isdisjoint(plan["predecessors"][0]["jwk"])
