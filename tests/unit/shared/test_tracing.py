"""What is told of a trace, and below what."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.envelope import Envelope
from shared.traceparent import place_of
from shared.tracing import OFF, here, note, part, traceparent
from tests.unit.shared.factories import envelope
from tests.unit.shared.told import ToldTracing

TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
SAMPLED = f"00-{TRACE:032x}-00f067aa0ba902b7-01"
NOT_SAMPLED = SAMPLED[:-1] + "0"


def traced(given: str | None, *, age: timedelta = timedelta(0)) -> Envelope:
    """Return an event of a request that had this place."""
    one = envelope()
    metadata = replace(one.metadata, traceparent=given, correlation_id="r1")
    return replace(one, metadata=metadata, time=datetime.now(UTC) - age)


def test_parts_stand_below_what_they_are_part_of() -> None:
    """However deep, without being told."""
    tracing = ToldTracing()

    with tracing.request("GET", None, {}), part("append"), part("deeper"):
        note({"noted": 1})
    request, append, deeper = tracing.told

    assert [None, request.place, append.place] == [one.parent for one in tracing.told]
    assert deeper.attributes == {"noted": 1}
    assert all(one.has_ended for one in tracing.told)
    assert here() is None


@pytest.mark.parametrize("given", [SAMPLED, NOT_SAMPLED])
def test_a_stranger_names_the_trace_and_does_not_decide(given: str) -> None:
    """Or anybody could have us tell of every request, or of none."""
    always, never = ToldTracing(1.0), ToldTracing(0.0)

    for tracing in (always, never):
        with tracing.request("GET", given, {}):
            pass

    assert [place_of(given)] == [one.parent for one in always.told]
    assert never.told == []


def test_what_is_malformed_begins_another_trace() -> None:
    """The caller's fault costs the caller's part of it."""
    tracing = ToldTracing()

    with tracing.request("GET", "nonsense", {}):
        assert here() is not None
    assert [one.parent for one in tracing.told] == [None]


@pytest.mark.parametrize("given", [None, NOT_SAMPLED, "nonsense"])
def test_nothing_follows_from_what_is_not_traced(given: str | None) -> None:
    """Whoever was first has decided for all."""
    tracing = ToldTracing()

    with tracing.following("send", given, "internal", {}), part("render"):
        assert traceparent() is None
    with tracing.each("apply", [traced(given)], "consumer") as places:
        assert places == {}
    assert tracing.told == []


def test_of_several_events_each_that_is_traced_is_told() -> None:
    """They are stored together and belong to different requests."""
    tracing = ToldTracing()
    events = [traced(SAMPLED), traced(None), traced(SAMPLED)]

    with tracing.each("intake", events, "consumer") as places:
        assert here() is None
    first, second = tracing.told

    assert {events[0].id: str(first.place), events[2].id: str(second.place)} == places
    assert {TRACE} == {one.place.trace_id for one in tracing.told}
    assert first.attributes["oauthapps.event_id"] == events[0].id
    assert first.attributes["oauthapps.correlation_id"] == "r1"


def test_what_is_done_for_one_event_is_part_of_it() -> None:
    """So its log lines say of which trace they are."""
    tracing = ToldTracing()

    with tracing.each("apply", [traced(SAMPLED)], "consumer"):
        assert tracing.told[0].place == here()
    assert here() is None


def test_events_of_long_ago_are_not_told() -> None:
    """Whoever reads the log anew would add to traces that nobody has any more."""
    tracing = ToldTracing()

    with tracing.each("apply", [traced(SAMPLED, age=timedelta(days=2))], "consumer"):
        pass
    assert tracing.told == []


def test_a_failure_is_told_by_its_kind() -> None:
    """Its message may hold anything."""
    tracing = ToldTracing()

    with pytest.raises(ValueError, match="secret"), tracing.request("GET", None, {}):
        raise ValueError("a secret")
    with (
        pytest.raises(ValueError, match="secret"),
        tracing.each("apply", [traced(SAMPLED), traced(SAMPLED)], "consumer"),
    ):
        raise ValueError("a secret")

    assert [one.error for one in tracing.told] == ["ValueError"] * 3
    assert all(one.has_ended for one in tracing.told)
    assert "secret" not in str([one.attributes for one in tracing.told])


async def test_off_it_does_nothing() -> None:
    """As it is where nobody wants traces."""
    async with OFF.exporting():
        with OFF.request("GET", SAMPLED, {}) as request, part("append") as append:
            note({"noted": 1})
        with OFF.following("send", SAMPLED, "internal", {}) as send:
            pass
        with OFF.each("apply", [traced(SAMPLED)], "consumer") as places:
            assert traceparent() is None

    assert request is append is send is None
    assert places == {}
