"""An event with its place in the log, and the two forms in which it travels.

The *internal* form is the whole envelope, for our own services. The *public* form is a CloudEvent
(CloudEvents 1.0, JSON event format, structured mode) without the private part and the metadata.
Both are encoded and decoded here and nowhere else.
"""

from collections.abc import Mapping, Sequence
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
    never a name or an address. `by` is the credential it was done with, `client:<client_id>`.
    `correlation_id` is the same for all that followed from one request, whose id it is; or from one
    command or import. `causation_id` is what caused the command, if that was another one.
    `traceparent` is there if the request was traced: the place where all that follows goes on, so
    of a message from the bus it is where that was published.
    """

    command_id: str
    actor: str
    correlation_id: str | None = None
    causation_id: str | None = None
    schema_version: int = 1
    by: str | None = None
    traceparent: str | None = None

    @property
    def credential(self) -> str | None:
        """What it was done with; the first version kept that where the correlation is now."""
        if self.by is None and (self.correlation_id or "").startswith("client:"):
            return self.correlation_id
        return self.by


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

    @property
    def ids(self) -> dict[str, str | int]:
        """What log lines and spans about the event say of it."""
        ids: dict[str, str | int] = {
            "position": self.position,
            "event_id": self.id,
            "event_type": self.type,
            "causation_id": self.metadata.causation_id or self.metadata.command_id,
        }
        if self.metadata.correlation_id is not None:
            ids["correlation_id"] = self.metadata.correlation_id
        return ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecodable:
    """An event of which this version can read no more than its place in the log.

    `reason` names fields and types, never a value; the others are None where they cannot be read.
    """

    position: int
    id: str | None
    stream: str | None
    type: str | None
    time: datetime | None
    reason: str


Entry = Envelope | Undecodable


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


class WirePlace(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for in an envelope that is not as it should be; all but its place may fail."""

    position: int
    id: Any = None
    stream: Any = None
    type: Any = None


class WireMessagePlace(WirePlace, frozen=True, kw_only=True):
    """Likewise on the bus."""

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


class WirePageOfAnything(msgspec.Struct, frozen=True, kw_only=True):
    """Likewise, with events of which some are not as they should be."""

    log_epoch: str
    head: int
    events: list[msgspec.Raw]


_message_decoder = msgspec.json.Decoder(WireMessage)
_message_place_decoder = msgspec.json.Decoder(WireMessagePlace)
_page_decoder = msgspec.json.Decoder(WirePage)
_page_of_anything_decoder = msgspec.json.Decoder(WirePageOfAnything)
_wire_decoder = msgspec.json.Decoder(Wire)
_place_decoder = msgspec.json.Decoder(WirePlace)
_cloudevent_decoder = msgspec.json.Decoder(CloudEvent)
_cloudevents_decoder = msgspec.json.Decoder(list[CloudEvent])
_UNKNOWN = Metadata(command_id="", actor="")
_encode = msgspec.json.Encoder().encode
encode_json = _encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A run of consecutive events; `head` is the last position when it was read."""

    log_epoch: str
    head: int
    entries: Sequence[Entry]

    @property
    def envelopes(self) -> list[Envelope]:
        """The events, for whoever needs all of them. Raises UndecodableEvent."""
        return [_decoded(one) for one in self.entries]


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


def _entry(wire: Wire) -> Entry:
    try:
        return _envelope(wire)
    except UndecodableEvent as error:
        return Undecodable(
            position=wire.position,
            id=wire.id,
            stream=wire.stream,
            type=wire.type,
            time=wire.time,
            reason=str(error),
        )


def _decoded(entry: Entry) -> Envelope:
    if isinstance(entry, Undecodable):
        message = f"position {entry.position}: {entry.reason}"
        raise UndecodableEvent(message)
    return entry


def _misshapen(place: WirePlace, error: msgspec.MsgspecError) -> Undecodable:
    return Undecodable(
        position=place.position,
        id=_text(place.id),
        stream=_text(place.stream),
        type=_text(place.type),
        time=None,
        reason=f"envelope: {error}",
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def decode_message(body: bytes) -> tuple[str, Entry]:
    """Return log epoch and event of one internal message.

    Raises UndecodableEvent when it does not even name its place.
    """
    try:
        wire = _message_decoder.decode(body)
    except msgspec.MsgspecError as error:
        try:
            place = _message_place_decoder.decode(body)
        except msgspec.MsgspecError:
            message = f"message: {error}"
            raise UndecodableEvent(message) from None
        return place.log_epoch, _misshapen(place, error)
    return wire.log_epoch, _entry(wire)


def decode_page(body: bytes) -> Page:
    """Return one page of the internal feed, with the places of events that cannot be decoded.

    Raises UndecodableEvent when it is no page, or an event does not even name its place.
    """
    try:
        wire = _page_decoder.decode(body)
        entries = [_entry(one) for one in wire.events]
    except msgspec.MsgspecError:
        # One by one is slower, and what a page of ours never needs.
        return _page_of_anything(body)
    return Page(log_epoch=wire.log_epoch, head=wire.head, entries=entries)


def _page_of_anything(body: bytes) -> Page:
    try:
        wire = _page_of_anything_decoder.decode(body)
        entries = [_entry_of_anything(bytes(one)) for one in wire.events]
    except msgspec.MsgspecError as error:
        message = f"feed page: {error}"
        raise UndecodableEvent(message) from None
    return Page(log_epoch=wire.log_epoch, head=wire.head, entries=entries)


def _entry_of_anything(body: bytes) -> Entry:
    try:
        wire = _wire_decoder.decode(body)
    except msgspec.MsgspecError as error:
        return _misshapen(_place_decoder.decode(body), error)
    return _entry(wire)


def decode_cloudevent(body: bytes) -> tuple[str, Entry]:
    """Return log epoch and event of one public message.

    Raises UndecodableEvent when it is no CloudEvent of ours.
    """
    try:
        event = _cloudevent_decoder.decode(body)
    except msgspec.MsgspecError as error:
        message = f"CloudEvent: {error}"
        raise UndecodableEvent(message) from None
    return event.logepoch, _of_cloudevent(event)


def decode_cloudevents(body: bytes) -> list[Entry]:
    """Return the events of a batch of the public form.

    Raises UndecodableEvent when one of them is no CloudEvent of ours.
    """
    try:
        events = _cloudevents_decoder.decode(body)
    except msgspec.MsgspecError as error:
        message = f"CloudEvents: {error}"
        raise UndecodableEvent(message) from None
    return [_of_cloudevent(one) for one in events]


def _of_cloudevent(event: CloudEvent) -> Entry:
    """Return an event as the log has it, but for what is not public; `version` is 0."""
    name: str | None = None
    try:
        name, version = event_type_of(event.type)
        fact = _decode(name, bytes(event.data), version)
    except UndecodableEvent as error:
        return Undecodable(
            position=event.sequence,
            id=event.id,
            stream=event.subject,
            type=name or event.type,
            time=event.time,
            reason=str(error),
        )
    return Envelope(
        position=event.sequence,
        id=event.id,
        stream=event.subject,
        version=0,
        type=name,
        time=event.time,
        event=fact,
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
