"""How old a confirmation is, whatever happens to processes, machines and clocks."""

from services.token import freshness
from services.token.freshness import NEVER, Moment, seconds_between


def moment(boot_id: str = "a", boot: float = 0.0, wall: float = 0.0) -> Moment:
    return Moment(boot_id=boot_id, boot_seconds=boot, wall_seconds=wall)


def test_within_a_boot_the_wall_clock_does_not_matter() -> None:
    """Setting it by an hour makes nothing fresh and nothing stale."""
    for wall in (-3600.0, 0.0, 3600.0):
        assert seconds_between(moment(boot=5), moment(boot=15, wall=wall)) == 10


def test_over_a_reboot_the_wall_clock_decides() -> None:
    """A restarted machine goes on with what it knew, within the bound."""
    assert seconds_between(moment(wall=1000), moment("b", boot=1, wall=1300)) == 300


def test_a_confirmation_from_the_future_confirms_nothing() -> None:
    """A clock that went back over a reboot would make stale clients fresh for ever."""
    assert seconds_between(moment(wall=2000), moment("b", wall=1000)) == NEVER


def test_what_was_never_confirmed_is_infinitely_old() -> None:
    """Any bound is below it."""
    assert seconds_between(None, moment()) == NEVER


def test_now_is_of_this_boot() -> None:
    """Two processes of one host measure with the same clock."""
    earlier, later = freshness.now(), freshness.now()

    assert 0 <= seconds_between(earlier, later) < 1
