"""What was published once can be read for ever: by our code, and by everybody who has a schema.

`tests/golden/events` holds an event of each type and version as it was stored, and is only ever
added to. `tests/golden/schemas` holds the schemas that were published; after a compatible change,
write the new ones over them: `python -m tests.unit.registry.test_schemas`.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from services.registry.schemas import TYPES, asyncapi, schema_of, schema_path
from shared.envelope import decode_page, encode_json, to_cloudevent
from shared.events import EVENT_TYPES

GOLDEN = Path(__file__).parents[2] / "golden"
EVENTS = sorted((GOLDEN / "events").glob("*.json"))
URL = "https://registry.example"
EPOCH = "8bf65e87-1a64-4ed1-bd07-5b9b9a4305a5"


def stored(event_type: str) -> Any:
    """Return the schema that was published last."""
    return json.loads((GOLDEN / "schemas" / f"{event_type}.json").read_text())


def published(file: Path) -> Any:
    """Return a stored event as it is published."""
    page = {"log_epoch": EPOCH, "head": 1, "events": [json.loads(file.read_text())]}
    (envelope,) = decode_page(json.dumps(page).encode()).envelopes
    event = to_cloudevent(envelope, log_epoch=EPOCH, source=URL)
    return json.loads(encode_json(event))


def incompatibilities(before: Any, after: Any, path: str = "#") -> list[str]:
    """Return what a subscriber would stumble over that was written for the schema before."""
    found = [
        f"{path}: {keyword} was {before.get(keyword)!r}"
        for keyword in ("type", "const", "format", "$ref", "items", "anyOf", "minimum")
        if before.get(keyword) != after.get(keyword)
    ]
    if not set(after.get("enum", ())) >= set(before.get("enum", ())):
        found.append(f"{path}: enum lost a value")
    lost = set(before.get("required", ())) - set(after.get("required", ()))
    found += [f"{path}: {name} was always there" for name in sorted(lost)]
    for group in ("properties", "$defs"):
        for name, schema in before.get(group, {}).items():
            place = f"{path}/{group}/{name}"
            if name not in after.get(group, {}):
                found.append(f"{place}: is gone")
            else:
                found += incompatibilities(schema, after[group][name], place)
    return found


@pytest.mark.parametrize("file", EVENTS, ids=lambda file: str(file.stem))
def test_every_event_ever_stored_is_read_and_fits_its_schema(file: Path) -> None:
    """Also the schema of today, whatever has been added since."""
    event = published(file)

    schema = schema_of(TYPES[event["type"]], URL)
    jsonschema.validate(
        event, schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


def test_there_is_a_stored_event_of_every_type() -> None:
    """A new type begins with its first golden event."""
    assert {json.loads(file.read_text())["type"] for file in EVENTS} == set(EVENT_TYPES)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_schema_only_ever_grows(event_type: str) -> None:
    """What fails here needs a new version in the type, `.v2`, beside the old one."""
    assert incompatibilities(stored(event_type), schema_of(event_type, URL)) == []


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_the_published_schema_is_the_stored_one(event_type: str) -> None:
    """A change of it is seen in review; the head of this file says how to store it."""
    assert stored(event_type) == schema_of(event_type, URL)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_schema_is_a_schema_and_refuses_another_event(event_type: str) -> None:
    """One that accepts everything would be of no use."""
    schema = schema_of(event_type, URL)

    jsonschema.Draft202012Validator.check_schema(schema)
    assert not jsonschema.Draft202012Validator(schema).is_valid({"type": schema["title"]})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"properties": {}}, "is gone"),
        ({"required": []}, "always there"),
        ({"type": "array"}, "type was"),
    ],
)
def test_an_incompatible_change_is_noticed(change: dict[str, Any], says: str) -> None:
    """The check itself can fail."""
    before = schema_of("ApplicationCreated", URL)

    assert any(says in one for one in incompatibilities(before, {**before, **change}))


def test_the_asyncapi_document_names_every_event_and_its_schema() -> None:
    """By routing key and exchange, as a subscriber binds its queue."""
    document = asyncapi(URL, "1.2.3")

    assert set(document["channels"]) == set(EVENT_TYPES)
    for name, message in document["components"]["messages"].items():
        assert message["payload"]["$ref"] == URL + schema_path(name)
        assert message["summary"]
    created = document["channels"]["ApplicationCreated"]
    assert created["address"] == "application.created"
    assert created["bindings"]["amqp"]["exchange"]["name"] == "oauthapps.events"


if __name__ == "__main__":
    for name in EVENT_TYPES:
        text = json.dumps(schema_of(name, URL), indent=2, ensure_ascii=False)
        (GOLDEN / "schemas" / f"{name}.json").write_text(text + "\n")
