"""An event with its place in the log, and the two forms in which it travels.

The *internal* form is the whole envelope, for our own services. The *public* form is a CloudEvent
(CloudEvents 1.0, JSON event format, structured mode) without the private part and the metadata.
Both are encoded and decoded here and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from shared.events import EVENT_TYPES, NO_PRIVATE_DATA, Event, PrivateData
from shared.upcasters import UPCASTERS, Upcasters, version_of

CLOUDEVENTS_MEDIA_TYPE = "application/cloudevents+json"
CLOUDEVENTS_BATCH_MEDIA_TYPE = "application/cloudevents-batch+json"


class UndecodableEvent(Exception):
    """The bytes are not an event that this version knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Who caused an event, by which command, and in which version its data was written.

    `actor` is `user:<id>`, `client:<client_id>`, `cli:<account>` or `service:registry`;
    never a name or an address.
    """

    command_id: str
    actor: str
    correlation_id: str | None = None
    causation_id: str | None = None
    schema_version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One event as it stands in the log.

    `position` counts all events from 1 without a hole; `version` counts those of one stream.
    `time` is when it was decided, in UTC.
    """

    position: int
    id: str
    stream: str
    version: int
    type: str
    time: datetime
    event: Event
    private: PrivateData
    metadata: Metadata


class Wire(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The internal form. `data` stays undecoded until its type is known."""

    position: int
    id: str
    stream: str
    version: int
    type: str
    time: datetime
    data: msgspec.Raw
    metadata: Metadata
    private: PrivateData | None = None


class WireMessage(Wire, frozen=True, kw_only=True, gc=False):
    """The internal form on the bus, where each message names the history it belongs to."""

    log_epoch: str


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The public form; it does not say who caused the event, nor which of its stream it is."""

    id: str
    type: str
    subject: str
    time: datetime
    sequence: int
    logepoch: str
    data: msgspec.Raw


class WirePage(msgspec.Struct, frozen=True, kw_only=True):
    """The internal feed's answer."""

    log_epoch: str
    head: int
    events: list[Wire]


_message_decoder = msgspec.json.Decoder(WireMessage)
_page_decoder = msgspec.json.Decoder(WirePage)
_cloudevent_decoder = msgspec.json.Decoder(CloudEvent)
_cloudevents_decoder = msgspec.json.Decoder(list[CloudEvent])
_UNKNOWN = Metadata(command_id="", actor="")
_encode = msgspec.json.Encoder().encode
encode_json = _encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A run of consecutive envelopes; `head` is the last position when it was read."""

    log_epoch: str
    head: int
    envelopes: list[Envelope]


class EventDecoder:
    """Reads the data of events of every version; see `shared/upcasters.py`."""

    def __init__(self, types: Mapping[str, type[Any]], upcasters: Upcasters) -> None:
        self._upcasters = upcasters
        # By type and version: what is of today takes one look.
        self._decoders = {
            (name, version_of(name, upcasters)): msgspec.json.Decoder(cls)
            for name, cls in types.items()
        }

    def __call__(self, event_type: str, data: bytes | str, schema_version: int = 1) -> Any:
        """Return the event. Raises UndecodableEvent for an unknown type or a wrong shape."""
        try:
            decoder = self._decoders.get((event_type, schema_version))
            if decoder is None:
                decoder, data = self._upcast(event_type, data, schema_version)
            return decoder.decode(data)
        except msgspec.MsgspecError as error:
            # The reason names a field and a type, never a value.
            message = f"{event_type}: {error}"
            raise UndecodableEvent(message) from None

    def _upcast(
        self, event_type: str, data: bytes | str, schema_version: int
    ) -> tuple["msgspec.json.Decoder[Any]", bytes]:
        """Return data of an older version as today's, and what reads it."""
        today = version_of(event_type, self._upcasters)
        decoder = self._decoders.get((event_type, today))
        if decoder is None or not 1 <= schema_version < today:
            version = "" if decoder is None else f" in version {schema_version}"
            message = f"event type {event_type!r}{version} is not known to this version; upgrade it"
            raise UndecodableEvent(message)
        fields = msgspec.json.decode(data, type=dict[str, Any])
        for upcaster in self._upcasters[event_type][schema_version - 1 :]:
            try:
                fields = upcaster(fields)
            except (KeyError, TypeError, ValueError) as error:
                message = f"{event_type} in version {schema_version}: {type(error).__name__}"
                raise UndecodableEvent(message) from None
        return decoder, _encode(fields)


_decode = EventDecoder(EVENT_TYPES, UPCASTERS)


def decode_event(event_type: str, data: bytes | str, schema_version: int = 1) -> Event:
    """Return the event. Raises UndecodableEvent for an unknown type or a wrong shape."""
    event: Event = _decode(event_type, data, schema_version)
    return event


def as_of_today(event_type: str, metadata: Metadata) -> Metadata:
    """Return the metadata of an event that was decoded: nobody may upcast it a second time."""
    if event_type not in UPCASTERS:
        return metadata
    return replace(metadata, schema_version=version_of(event_type))


def _envelope(wire: Wire) -> Envelope:
    return Envelope(
        position=wire.position,
        id=wire.id,
        stream=wire.stream,
        version=wire.version,
        type=wire.type,
        time=wire.time,
        event=_decode(wire.type, bytes(wire.data), wire.metadata.schema_version),
        private=wire.private or NO_PRIVATE_DATA,
        metadata=as_of_today(wire.type, wire.metadata) if UPCASTERS else wire.metadata,
    )


def decode_message(body: bytes) -> tuple[str, Envelope]:
    """Return log epoch and envelope of one internal message. Raises UndecodableEvent."""
    try:
        wire = _message_decoder.decode(body)
    except msgspec.MsgspecError as error:
        message = f"message: {error}"
        raise UndecodableEvent(message) from None
    return wire.log_epoch, _envelope(wire)


def decode_page(body: bytes) -> Page:
    """Return one page of the internal feed. Raises UndecodableEvent."""
    try:
        wire = _page_decoder.decode(body)
    except msgspec.MsgspecError as error:
        message = f"feed page: {error}"
        raise UndecodableEvent(message) from None
    return Page(
        log_epoch=wire.log_epoch, head=wire.head, envelopes=[_envelope(one) for one in wire.events]
    )


def decode_cloudevent(body: bytes) -> tuple[str, Envelope]:
    """Return log epoch and envelope of one public message. Raises UndecodableEvent."""
    try:
        event = _cloudevent_decoder.decode(body)
    except msgspec.MsgspecError as error:
        message = f"CloudEvent: {error}"
        raise UndecodableEvent(message) from None
    return event.logepoch, _of_cloudevent(event)


def decode_cloudevents(body: bytes) -> list[Envelope]:
    """Return the envelopes of a batch of the public form. Raises UndecodableEvent."""
    try:
        events = _cloudevents_decoder.decode(body)
    except msgspec.MsgspecError as error:
        message = f"CloudEvents: {error}"
        raise UndecodableEvent(message) from None
    return [_of_cloudevent(one) for one in events]


def _of_cloudevent(event: CloudEvent) -> Envelope:
    """Return an event as the log has it, but for what is not public; `version` is 0."""
    name, version = event_type_of(event.type)
    return Envelope(
        position=event.sequence,
        id=event.id,
        stream=event.subject,
        version=0,
        type=name,
        time=event.time,
        event=_decode(name, bytes(event.data), version),
        private=NO_PRIVATE_DATA,
        metadata=_UNKNOWN,
    )


def encode_internal(envelope: Envelope) -> bytes:
    """Return the internal form, as the feed lists it."""
    return _encode(_internal(envelope))


def encode_message(envelope: Envelope, log_epoch: str) -> bytes:
    """Return the internal form as one self-contained message of the bus."""
    return _encode({"log_epoch": log_epoch, **_internal(envelope)})


def _internal(envelope: Envelope) -> dict[str, Any]:
    private = None if envelope.private == NO_PRIVATE_DATA else asdict(envelope.private)
    return {
        "position": envelope.position,
        "id": envelope.id,
        "stream": envelope.stream,
        "version": envelope.version,
        "type": envelope.type,
        "time": envelope.time,
        "data": envelope.event,
        "private": private,
        "metadata": envelope.metadata,
    }


def cloudevent_type(event_type: str) -> str:
    """Return the CloudEvents `type` of an event: `oauthapps.ApplicationCreated.v1`."""
    return f"oauthapps.{event_type}.v{version_of(event_type)}"


def event_type_of(cloudevent: str) -> tuple[str, int]:
    """Return the type of an event and its version by its CloudEvents `type`.

    Raises UndecodableEvent.
    """
    name, _, version = cloudevent.removeprefix("oauthapps.").rpartition(".v")
    if not version.isascii() or not version.isdigit():
        message = f"{cloudevent}: no type of ours"
        raise UndecodableEvent(message)
    return name, int(version)


def to_cloudevent(envelope: Envelope, *, log_epoch: str, source: str) -> dict[str, Any]:
    """Return the public form as a JSON-ready mapping; `source` is the registry's URL.

    The extension `sequence` is the position in the log, `logepoch` the history it counts in.
    """
    return {
        "specversion": "1.0",
        "id": envelope.id,
        "source": source,
        "type": cloudevent_type(envelope.type),
        "subject": envelope.stream,
        "time": envelope.time,
        "datacontenttype": "application/json",
        "sequence": envelope.position,
        "logepoch": log_epoch,
        "data": envelope.event,
    }


def routing_key(event_type: str) -> str:
    """Return the topic of an event: `application.created`, `application.secret.rotated`."""
    words: list[str] = []
    for letter in event_type:
        if letter.isupper():
            words.append(letter.lower())
        else:
            words[-1] += letter
    return ".".join(words)
