"""The log and the read model side by side, application by application, in the order of their ids.

Both are read as they are at one moment, and of both only what is needed for the application at
hand: a million of them take no more memory than a few.
"""

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from services.registry.domain import Application, NotCreated, State, evolve
from services.registry.name_search import key_of
from services.registry.projection import revoked_entry
from shared.envelope import UndecodableEvent, decode_event
from shared.postgres import Connection

ROWS = 1000
# The first row can be long in coming: all before it may have to be sorted.
STATEMENT_SECONDS = 3600.0


@dataclass(slots=True)
class Story:
    """What the events of one stream add up to; `events` counts them."""

    id: uuid.UUID
    state: State = field(default_factory=NotCreated)
    version: int = 0
    events: int = 0
    # Of every secret there ever was; a digest is None when it was blanked in the log.
    digests: dict[str, str | None] = field(default_factory=dict, repr=False)
    positions: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, row: asyncpg.Record) -> None:
        """Take the next event."""
        self.events += 1
        position = row["position"]
        if row["version"] != self.version + 1:
            self.problems.append(
                f"position {position}: version {row['version']} of {self.id}, "
                f"expected {self.version + 1}"
            )
        self.version = row["version"]
        try:
            event = decode_event(row["type"], row["data"], row["schema_version"])
            self.state = evolve(self.state, event, row["time"])
        except (UndecodableEvent, TypeError) as error:
            self.problems.append(f"position {position}: {error}")
            return
        secret = getattr(event, "secret", None)
        if secret is not None:
            self.digests[secret.id] = row["digest"]
            self.positions[secret.id] = position

    def application(self) -> dict[str, Any] | None:
        """Return the row of `applications` that the events give, or None: there is none."""
        state = self.state
        if not isinstance(state, Application):
            return None
        return {
            "id": str(self.id),
            "client_id": state.client_id,
            "organization_id": state.organization_id,
            "owner_id": state.owner_id,
            "name": state.name,
            "description": state.description,
            "active": state.active,
            "scopes": list(state.scopes),
            "not_before": state.not_before,
            "expires_at": state.expires_at,
            "created_at": state.created_at,
            "updated_at": state.updated_at,
            "version": self.version,
            "keys": [one.jwk for one in state.keys],
            "token_seconds": state.token_seconds,
            "revoked": [revoked_entry(jti, until) for jti, until in state.revoked.items()],
        }

    def secrets(self) -> list[dict[str, Any]]:
        """Return the rows of `application_secrets`, in their order; a blanked digest is None."""
        if not isinstance(self.state, Application):
            return []
        return [
            {
                "id": one.id,
                "application_id": str(self.id),
                "hint": one.hint,
                "digest": self.digests[one.id],
                "created_at": one.created_at,
                "expires_at": one.expires_at,
                "position": self.positions[one.id],
            }
            for one in self.state.secrets.values()
        ]


# Of an application in the log, what the read model has, or None; of one that is only in the read
# model a story without events.
Pair = tuple[Story, asyncpg.Record | None]


async def side_by_side(
    connection: Connection, *, with_searchability: bool = False
) -> AsyncGenerator[Pair, None]:
    """Yield every application of either side once. Needs a transaction with one snapshot.

    Whether a list finds an application takes as long to tell as all the rest.
    """
    query = _VIEWS.format(is_searchable=_IS_SEARCHABLE if with_searchability else "true")
    views = aiter(connection.cursor(query, prefetch=ROWS, timeout=STATEMENT_SECONDS))
    view = await anext(views, None)
    events = connection.cursor(_EVENTS, prefetch=ROWS, timeout=STATEMENT_SECONDS)
    async for story in stories(events):
        while view is not None and view["id"] < story.id:
            yield Story(view["id"]), view
            view = await anext(views, None)
        if view is not None and view["id"] == story.id:
            yield story, view
            view = await anext(views, None)
        else:
            yield story, None
    while view is not None:
        yield Story(view["id"]), view
        view = await anext(views, None)


async def stories(rows: AsyncIterable[asyncpg.Record]) -> AsyncIterator[Story]:
    """Fold events that come stream by stream."""
    story: Story | None = None
    async for row in rows:
        if story is None or row["stream"] != story.id:
            if story is not None:
                yield story
            story = Story(row["stream"])
        story.take(row)
    if story is not None:
        yield story


async def stories_of(connection: Connection, ids: Sequence[uuid.UUID]) -> list[Story]:
    """Return the stories of some applications; without events where there are none."""
    found = {id_: Story(id_) for id_ in ids}
    for row in await connection.fetch(_EVENTS_OF, list(found)):
        found[row["stream"]].take(row)
    return list(found.values())


def differences(story: Story, view: asyncpg.Record | None) -> list[str]:
    """Return the names of what the read model says otherwise than the log."""
    application = story.application()
    if application is None or view is None:
        return [] if application is None and view is None else ["existence"]
    wrong = [name for name, value in application.items() if _as_told(name, view[name]) != value]
    told = [_secret(one) for one in story.secrets()]
    # A digest that was blanked in the log cannot be compared.
    shown = [
        (str(id_), hint, created_at, expires_at, position, story.digests.get(str(id_)) and digest)
        for id_, hint, created_at, expires_at, position, digest in view["secrets"]
    ]
    return wrong if told == shown else [*wrong, "secrets"]


def is_searchable(view: asyncpg.Record) -> bool:
    """Tell whether lists find an application by its names: these are not in the log."""
    return bool(view["is_searchable"]) and view["name_key"] == key_of(view["name"])


def _secret(told: dict[str, Any]) -> tuple[Any, ...]:
    names = ("id", "hint", "created_at", "expires_at", "position", "digest")
    return tuple(told[name] for name in names)


def _as_told(name: str, value: Any) -> Any:
    if name in ("keys", "revoked"):
        return json.loads(value)
    return str(value) if isinstance(value, uuid.UUID) else value


_COLUMNS = """
SELECT e.position, e.stream, e.version, e.type, e.time, e.data,
       e.private ->> 'secret_digest'                                      AS digest,
       coalesce((e.metadata ->> 'schema_version')::integer, 1)            AS schema_version
  FROM registry.events e
"""
_EVENTS = f"{_COLUMNS} ORDER BY e.stream, e.version"
_EVENTS_OF = f"{_COLUMNS} WHERE e.stream = ANY ($1::uuid[]) ORDER BY e.stream, e.version"
_IS_SEARCHABLE = """
       a.name_parts = registry.name_parts(a.name_key)
           AND a.organization_key = coalesce((SELECT lower(o.name) FROM registry.organizations o
                                               WHERE o.id = a.organization_id), '')
"""
_VIEWS = """
SELECT a.id, a.client_id, a.organization_id, a.owner_id, a.name, a.description, a.active,
       a.scopes, a.not_before, a.expires_at, a.created_at, a.updated_at, a.version, a.name_key,
       a.keys, a.token_seconds, a.revoked,
       {is_searchable} AS is_searchable,
       ARRAY (SELECT (s.id, s.hint, s.created_at, s.expires_at, s.position, s.digest)
                FROM registry.application_secrets s
               WHERE s.application_id = a.id
               ORDER BY s.position) AS secrets
  FROM registry.applications a
 ORDER BY a.id
"""
