"""What the answers come to: where everything stands."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from services.status.inquiry import Answers, Replica
from services.status.shape import (
    Broker,
    Deliveries,
    Key,
    Keys,
    Log,
    Notifier,
    Projection,
    Relay,
    Service,
    State,
    Status,
    Subscriber,
)
from services.status.troubles import troubles_of

STATES = ("due", "unknown", "sending", "parked")


def find(answers: Answers, now: datetime) -> Status:
    """Return what answers come to."""
    of = {
        name: [one for one in answers.replicas if one.service == name and one.ready is not None]
        for name in ("registry", "token", "notifier")
    }
    log = _log(of["registry"])
    head = None if log is None else log.position
    status = Status(
        state="ok",
        at=now,
        troubles=[],
        services=[_service(one) for one in answers.replicas],
        log=log,
        relay=_relay(of["registry"]),
        rabbitmq=Broker(
            reached=answers.broker is None if answers.broker_asked else None,
            trouble=answers.broker,
        ),
        subscribers=list(_subscribers(of["token"] + of["notifier"])),
        projections=list(_projections(of["token"], head)),
        notifier=_notifier(of["notifier"], head),
        keys=_keys(of["token"], now),
        deliveries=_deliveries(of["notifier"]),
    )
    troubles = list(troubles_of(status))
    severities = {one.severity for one in troubles}
    state: State = "down" if "down" in severities else "attention" if severities else "ok"
    return msgspec.structs.replace(status, state=state, troubles=troubles)


def _service(one: Replica) -> Service:
    builds = one.all("oauthapps_build_info")
    return Service(
        service=one.service,
        address=one.address,
        reached=one.ready is not None,
        ready=bool(one.ready),
        version=builds[0][0]["version"] if builds else None,
        checks=dict(one.checks),
        trouble=one.trouble,
    )


def _log(registries: Sequence[Replica]) -> Log | None:
    # The furthest: between two that are asked, events are appended.
    found = [
        (position, _epoch(one, "oauthapps_registry_log_info"))
        for one in registries
        if (position := one.value("oauthapps_registry_log_position")) is not None
    ]
    if not found:
        return None
    position, epoch = max(found, key=lambda one: one[0])
    return Log(epoch=epoch, position=int(position))


def _epoch(one: Replica, name: str) -> str | None:
    return next((labels["epoch"] for labels, _ in one.all(name)), None)


def _relay(registries: Sequence[Replica]) -> Relay | None:
    lags = _values(registries, "oauthapps_registry_relay_lag_events")
    if not lags:
        return None
    position = max(_values(registries, "oauthapps_registry_relay_position"), default=None)
    seconds = _values(registries, "oauthapps_registry_relay_lag_seconds")
    return Relay(
        position=None if position is None else int(position),
        lag_events=int(min(lags)),
        lag_seconds=round(min(seconds, default=0.0), 1),
        leaders=int(sum(_values(registries, "oauthapps_registry_relay_leader"))),
    )


def _values(replicas: Sequence[Replica], name: str) -> list[float]:
    found = (one.value(name) for one in replicas)
    return [one for one in found if one is not None]


def _subscribers(replicas: Sequence[Replica]) -> Iterator[Subscriber]:
    for one in replicas:
        connected = one.value("oauthapps_bus_connected", service=one.service)
        if connected is not None:
            waiting = one.value("oauthapps_bus_waiting_events", service=one.service)
            yield Subscriber(
                service=one.service,
                address=one.address,
                connected=connected > 0,
                waiting=int(waiting or 0),
            )


def _projections(tokens: Sequence[Replica], head: int | None) -> Iterator[Projection]:
    for one in tokens:
        position = one.value("oauthapps_token_projection_position")
        staleness = one.value("oauthapps_token_projection_staleness_seconds")
        limit = one.value("oauthapps_token_projection_staleness_limit_seconds")
        if position is not None and staleness is not None and limit is not None:
            yield Projection(
                address=one.address,
                epoch=_epoch(one, "oauthapps_token_log_info"),
                position=int(position),
                lag_events=_behind(head, position),
                staleness_seconds=None if staleness == float("inf") else round(staleness, 1),
                staleness_limit_seconds=limit,
                clients=int(one.value("oauthapps_token_clients") or 0),
            )


def _behind(head: int | None, position: float) -> int | None:
    # Asked a moment later it may be further than the registry was.
    return None if head is None else max(0, head - int(position))


def _notifier(notifiers: Sequence[Replica], head: int | None) -> Notifier | None:
    for one in notifiers:
        position = one.value("oauthapps_notifier_position")
        if position is not None:
            return Notifier(
                epoch=_epoch(one, "oauthapps_notifier_log_info"),
                position=int(position),
                lag_events=_behind(head, position),
                undecodable_events=int(one.value("oauthapps_notifier_undecodable_waiting") or 0),
            )
    return None


def _keys(tokens: Sequence[Replica], now: datetime) -> Keys:
    where: dict[tuple[str, str, str], list[str]] = {}
    for one in tokens:
        for labels, _ in one.all("oauthapps_token_key_info"):
            key = (labels["state"], labels["kid"], labels["algorithm"])
            where.setdefault(key, []).append(one.address)
    made = min(_values(tokens, "oauthapps_token_signing_key_made_timestamp_seconds"), default=None)
    step = min(_values(tokens, "oauthapps_token_keys_next_step_timestamp_seconds"), default=None)
    return Keys(
        published=[
            Key(kid=kid, algorithm=algorithm, state=state, addresses=addresses)
            for (state, kid, algorithm), addresses in sorted(where.items())
        ],
        age_seconds=None if made is None else round(now.timestamp() - made),
        next_step_at=None if step is None else datetime.fromtimestamp(step, UTC),
    )


def _deliveries(notifiers: Sequence[Replica]) -> Deliveries | None:
    for one in notifiers:
        states = [one.value("oauthapps_notifier_deliveries", state=state) for state in STATES]
        oldest = one.value("oauthapps_notifier_oldest_due_seconds")
        if oldest is not None:
            due, unknown, sending, parked = (int(count or 0) for count in states)
            return Deliveries(
                due=due,
                unknown=unknown,
                sending=sending,
                parked=parked,
                oldest_due_seconds=round(oldest, 1),
            )
    return None
