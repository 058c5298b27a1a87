"""The two forms in which an event travels."""

import json
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from shared.envelope import (
    Metadata,
    Undecodable,
    UndecodableEvent,
    cloudevent_type,
    decode_cloudevent,
    decode_cloudevents,
    decode_event,
    decode_message,
    decode_page,
    encode_internal,
    encode_json,
    encode_message,
    event_type_of,
    routing_key,
    to_cloudevent,
)
from shared.events import EVENT_TYPES, Event, PrivateData, subject_of
from shared.traceparent import Place
from shared.upcasters import version_of
from tests.unit.shared.factories import DIGEST, EPOCH, EVENTS, envelope, updated

SOURCE = "https://registry.example"


@given(EVENTS, some.booleans())
def test_a_message_says_all_that_the_log_says(event: Event, has_private: bool) -> None:  # noqa: FBT001
    """The token service must not have to ask back."""
    private = PrivateData(secret_digest=DIGEST if has_private else None)
    sent = envelope(7, event, private=private, correlation_id="client:c1")

    assert (EPOCH, sent) == decode_message(encode_message(sent, EPOCH))


@given(some.lists(EVENTS, max_size=4))
def test_a_page_says_all_that_the_log_says(events: list[Event]) -> None:
    """What the bus lost is read from here."""
    private = PrivateData(secret_digest=DIGEST)
    sent = [envelope(3 + index, event, private=private) for index, event in enumerate(events)]
    listed = b",".join(map(encode_internal, sent))

    page = decode_page(b'{"log_epoch":"%s","head":9,"events":[%s]}' % (EPOCH.encode(), listed))

    assert (page.log_epoch, page.head, page.envelopes) == (EPOCH, 9, sent)


@pytest.mark.parametrize(
    ("correlation_id", "by", "credential"),
    [
        ("req-1", "client:c1", "client:c1"),
        # As the first version wrote them.
        ("client:c1", None, "client:c1"),
        ("an import", None, None),
        (None, None, None),
    ],
)
def test_events_of_every_version_say_by_which_credential(
    correlation_id: str | None, by: str | None, credential: str | None
) -> None:
    """An audit asks about years."""
    old = {"command_id": "c", "actor": "user:u1", "correlation_id": correlation_id}
    written = json.dumps(old if by is None else {**old, "by": by})

    assert credential == msgspec.json.decode(written, type=Metadata).credential


@given(EVENTS)
def test_a_cloudevent_has_nothing_private(event: Event) -> None:
    """Foreign systems read it: no digest, no actor, no command."""
    sent = envelope(5, event, private=PrivateData(secret_digest=DIGEST), correlation_id="req-1")
    metadata = replace(sent.metadata, by="client:c1", traceparent=str(Place(7, 7)))
    sent = replace(sent, metadata=metadata)

    text = encode_json(to_cloudevent(sent, log_epoch=EPOCH, source=SOURCE)).decode()
    document = json.loads(text)

    assert set(document) == {
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "datacontenttype",
        "sequence",
        "logepoch",
        "data",
    }
    assert DIGEST not in text
    for hidden in (metadata.command_id, "req-1", str(Place(7, 7))):
        assert hidden not in text
    # Not in the text: hypothesis takes words of our code for descriptions.
    assert "traceparent" not in document["data"]
    assert event == decode_event(sent.type, json.dumps(document["data"]))


def test_a_cloudevent_names_its_place() -> None:
    """Whoever subscribes can see that one is missing, and in which history."""
    sent = envelope(5, updated())

    document = to_cloudevent(sent, log_epoch=EPOCH, source=SOURCE)

    assert document["specversion"] == "1.0"
    assert document["type"] == "oauthapps.ApplicationUpdated.v1"
    assert (document["source"], document["id"]) == (SOURCE, sent.id)
    assert (document["sequence"], document["logepoch"]) == (5, EPOCH)
    assert document["subject"] == sent.stream


def test_a_digest_is_in_no_representation() -> None:
    """It would stand in the next traceback."""
    sent = envelope(1, updated(), private=PrivateData(secret_digest=DIGEST))

    assert DIGEST not in repr(sent)


@pytest.mark.parametrize(
    ("event_type", "key"),
    [
        ("ApplicationCreated", "application.created"),
        ("ApplicationSecretRotated", "application.secret.rotated"),
        ("TokensRevoked", "tokens.revoked"),
    ],
)
def test_a_routing_key_is_the_name_in_words(event_type: str, key: str) -> None:
    """Subscribers bind `application.#`."""
    assert key == routing_key(event_type)


def test_every_event_names_application_client_owner_and_organization() -> None:
    """A subscriber understands it without a look-up."""
    expected = {"application_id", "client_id", "organization_id", "owner_id", "name"}

    assert all(expected <= set(kind.__dataclass_fields__) for kind in EVENT_TYPES.values())
    assert expected == set(subject_of(updated()))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"position": 1}',
        encode_message(envelope(1), EPOCH).replace(b'"position":1', b'"position":"1"'),
        encode_message(envelope(1), EPOCH)[:-1],
    ],
)
def test_what_names_no_place_in_the_log_is_one_known_error(body: bytes) -> None:
    """The subscriber has to go on, and to say what it could not read."""
    with pytest.raises(UndecodableEvent):
        decode_message(body)


UNKNOWN_TYPE = (b"ApplicationUpdated", b"ApplicationEaten")
WRONG_FIELD = (b'"owner_id":"u1"', b'"owner_id":7')
MISSING_FIELD = (b'"owner_id":"u1",', b"")
NO_TIME = (b"2026-05-01T12:00:00Z", b"at noon")
NO_METADATA = (b'"metadata":', b'"metadata":0,"x":')
ODD_ID = (b'"id":"', b'"id":0,"x":"')
spoiled = pytest.mark.parametrize(
    "spoilt", [UNKNOWN_TYPE, WRONG_FIELD, MISSING_FIELD, NO_TIME, NO_METADATA, ODD_ID]
)


@spoiled
def test_a_message_that_cannot_be_decoded_has_a_place_and_a_reason(
    spoilt: tuple[bytes, bytes],
) -> None:
    """The feed is asked for it at once; and nobody is shown what it says."""
    sent = envelope(7, private=PrivateData(secret_digest=DIGEST))

    epoch, found = decode_message(encode_message(sent, EPOCH).replace(*spoilt))

    assert isinstance(found, Undecodable)
    assert (epoch, found.position) == (EPOCH, 7)
    assert found.type == sent.type or spoilt == UNKNOWN_TYPE
    assert found.id == (None if spoilt == ODD_ID else sent.id)
    assert found.reason
    for said in (DIGEST, "name 7", sent.metadata.command_id):
        assert said not in repr(found)


@spoiled
def test_a_page_yields_the_events_around_one_that_cannot_be_decoded(
    spoilt: tuple[bytes, bytes],
) -> None:
    """One event must not take hundreds with it; and whoever needs them all is told."""
    sent = [envelope(position) for position in (1, 2, 3)]
    listed = [encode_internal(one) for one in sent]
    listed[1] = listed[1].replace(*spoilt)

    page = decode_page(
        b'{"log_epoch":"%s","head":3,"events":[%s]}' % (EPOCH.encode(), b",".join(listed))
    )

    first, bad, last = page.entries
    assert [first, last] == [sent[0], sent[2]]
    assert isinstance(bad, Undecodable)
    assert bad.position == 2
    with pytest.raises(UndecodableEvent, match="position 2: "):
        _ = page.envelopes


@pytest.mark.parametrize(
    "spoilt",
    [(b"oauthapps.ApplicationUpdated.v1", b"com.example.Eaten"), UNKNOWN_TYPE, WRONG_FIELD],
)
def test_a_cloudevent_that_cannot_be_decoded_has_a_place_and_a_reason(
    spoilt: tuple[bytes, bytes],
) -> None:
    """An API that follows withdrawals stops there, and can say where that is."""
    sent = envelope(7)
    body = encode_json(to_cloudevent(sent, log_epoch=EPOCH, source=SOURCE)).replace(*spoilt)

    epoch, found = decode_cloudevent(body)

    assert isinstance(found, Undecodable)
    assert (epoch, found.position, found.id, found.time) == (EPOCH, 7, sent.id, sent.time)
    assert [found] == decode_cloudevents(b"[%s]" % body)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"log_epoch":"e","head":1,"events":[{}]}'])
def test_what_is_no_page_is_one_known_error(body: bytes) -> None:
    """Likewise."""
    with pytest.raises(UndecodableEvent):
        decode_page(body)


def test_a_newer_event_type_names_the_remedy() -> None:
    """It stops a projection; whoever reads the log must know what to do."""
    with pytest.raises(UndecodableEvent, match=r"'ApplicationEaten' is not known.*upgrade"):
        decode_event("ApplicationEaten", b"{}")


def test_a_member_that_is_not_known_is_passed_over() -> None:
    """Fields may be added: a service that is upgraded later must go on reading."""
    data = encode_json(updated())[:-1] + b',"color":"red"}'

    assert updated() == decode_event("ApplicationUpdated", data)


def test_an_error_of_decoding_shows_no_value() -> None:
    """It is logged, and the value may be what should not be."""
    body = encode_message(envelope(1, private=PrivateData(secret_digest=DIGEST)), EPOCH)

    _, found = decode_message(body.replace(b'"secret_digest"', b'"secret_digest":7,"x"'))

    assert isinstance(found, Undecodable)
    assert "secret_digest" in found.reason
    assert DIGEST not in repr(found)


def test_the_type_of_a_cloudevent_leads_back() -> None:
    """What is none of ours is said, and not taken for something else."""
    for one in EVENT_TYPES:
        assert event_type_of(cloudevent_type(one)) == (one, version_of(one))
    for other in ("", "oauthapps.ApplicationCreated", "com.example.v1x", "x.v"):
        with pytest.raises(UndecodableEvent):
            event_type_of(other)
