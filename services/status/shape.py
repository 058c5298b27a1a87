"""The shape of `oauthapps status --json`, see docs/observability.md.

Members are added, never renamed. What could not be found out is null, or a list without it.
"""

from datetime import datetime
from typing import Literal

import msgspec

State = Literal["ok", "attention", "down"]


class Trouble(msgspec.Struct, frozen=True):
    """`down`: a service is not there, or cannot do its work. `attention`: a person should look."""

    severity: Literal["attention", "down"]
    what: str


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A replica. `trouble` is why it was not reached."""

    service: str
    address: str
    reached: bool
    ready: bool
    version: str | None
    checks: dict[str, str]
    trouble: str | None


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """The head of the registry's log."""

    epoch: str | None
    position: int


class Relay(msgspec.Struct, frozen=True, kw_only=True):
    """How far RabbitMQ has confirmed; not there without RabbitMQ."""

    position: int | None
    lag_events: int
    lag_seconds: float
    leaders: int


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """RabbitMQ as seen from here. `reached` is null where its URL is not configured."""

    reached: bool | None
    trouble: str | None


class Subscriber(msgspec.Struct, frozen=True, kw_only=True):
    """One that hears of events by RabbitMQ, and how many it has not dealt with yet."""

    service: str
    address: str
    connected: bool
    waiting: int


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """The clients as one token service knows them."""

    address: str
    epoch: str | None
    position: int
    lag_events: int | None
    # Null: it was never filled.
    staleness_seconds: float | None
    staleness_limit_seconds: float
    clients: int


class Notifier(msgspec.Struct, frozen=True, kw_only=True):
    """How far the notifier has read."""

    epoch: str | None
    position: int
    lag_events: int | None
    undecodable_events: int


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A published key, and the replicas that publish it in this state."""

    kid: str
    algorithm: str
    state: str
    addresses: list[str]


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """All published keys; `age_seconds` is that of the oldest that signs."""

    published: list[Key]
    age_seconds: float | None
    next_step_at: datetime | None


class Deliveries(msgspec.Struct, frozen=True, kw_only=True):
    """Mails that are not finished, and how long the oldest that is due has waited."""

    due: int
    unknown: int
    sending: int
    parked: int
    oldest_due_seconds: float


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything."""

    state: State
    at: datetime
    troubles: list[Trouble]
    services: list[Service]
    log: Log | None
    relay: Relay | None
    rabbitmq: Broker
    subscribers: list[Subscriber]
    projections: list[Projection]
    notifier: Notifier | None
    keys: Keys
    deliveries: Deliveries | None
