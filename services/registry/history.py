"""What happened to an application, as it is listed for people and for the REST API."""

from typing import Any

from shared.envelope import Envelope


def fact_of(envelope: Envelope) -> dict[str, Any]:
    """Return an event as the history of an application lists it."""
    return {
        "id": envelope.id,
        "type": envelope.type,
        "time": envelope.time,
        "position": envelope.position,
        "version": envelope.version,
        "actor": envelope.metadata.actor,
        "by": envelope.metadata.credential,
        "data": envelope.event,
    }
