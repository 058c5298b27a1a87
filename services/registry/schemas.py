"""What is published, described for machines: JSON Schemas and an AsyncAPI document.

Both are made from the events themselves, so that neither can say anything else than the code.
"""

import inspect
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from shared.bus import PUBLIC_EXCHANGE
from shared.envelope import CLOUDEVENTS_MEDIA_TYPE, cloudevent_type, routing_key
from shared.events import EVENT_TYPES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI_VERSION = "3.0.0"
TYPES = {cloudevent_type(name): name for name in EVENT_TYPES}


def schema_path(event_type: str) -> str:
    """Return the path of an event's schema."""
    return f"/schemas/{cloudevent_type(event_type)}.json"


@cache
def schema_of(event_type: str, public_url: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an event as it is published, attributes and data.

    It is open: a field more, in the event or in its data, is no fault.
    """
    data = TypeAdapter(EVENT_TYPES[event_type]).json_schema(mode="serialization")
    definitions = data.pop("$defs", {})
    attributes = {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "format": "uuid", "description": "Identifies the event."},
        "source": {"type": "string", "description": "The registry."},
        "type": {"const": cloudevent_type(event_type)},
        "subject": {"type": "string", "format": "uuid", "description": "The application."},
        "time": {"type": "string", "format": "date-time", "description": "When, in UTC."},
        "datacontenttype": {"const": "application/json"},
        "sequence": {"type": "integer", "minimum": 1, "description": "Position in the log."},
        "logepoch": {
            "type": "string",
            "format": "uuid",
            "description": "The history in which `sequence` counts.",
        },
        "data": _untitled(data),
    }
    return {
        "$schema": DIALECT,
        "$id": public_url + schema_path(event_type),
        "title": event_type,
        "description": data["description"],
        "type": "object",
        "properties": attributes,
        "required": list(attributes),
        **({"$defs": _untitled(definitions)} if definitions else {}),
    }


@cache
def asyncapi(public_url: str, version: str) -> dict[str, Any]:
    """Return the AsyncAPI 3 document of the public exchange: what the registry sends."""
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "oauthapps events",
            "version": version,
            "description": (
                "Everything that happens to an application, as CloudEvents. Messages come at least "
                "once; drop what is at or below the last `sequence` you know, and fill gaps from "
                f"{public_url}/api/events."
            ),
        },
        "defaultContentType": CLOUDEVENTS_MEDIA_TYPE,
        "channels": {name: _channel(name) for name in EVENT_TYPES},
        "operations": {
            f"send{name}": {"action": "send", "channel": {"$ref": f"#/channels/{name}"}}
            for name in EVENT_TYPES
        },
        "components": {
            "messages": {
                name: {
                    "name": cloudevent_type(name),
                    "title": name,
                    "summary": inspect.getdoc(event),
                    "contentType": CLOUDEVENTS_MEDIA_TYPE,
                    "payload": {"$ref": public_url + schema_path(name)},
                }
                for name, event in EVENT_TYPES.items()
            }
        },
    }


def _channel(name: str) -> dict[str, Any]:
    exchange = {"name": PUBLIC_EXCHANGE, "type": "topic", "durable": True, "autoDelete": False}
    return {
        "address": routing_key(name),
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}},
    }


def _untitled(schema: Any) -> Any:
    """Leave out the titles that only repeat a field's name."""
    if isinstance(schema, dict):
        return {
            name: _untitled(value)
            for name, value in schema.items()
            if name != "title" or not isinstance(value, str)
        }
    return [_untitled(one) for one in schema] if isinstance(schema, list) else schema
