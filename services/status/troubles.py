"""What is not as it should be."""

from collections.abc import Iterator

from services.status.shape import Keys, Status, Trouble
from services.status.words import counted, lasting

# As the alerts have them; see deploy/prometheus/alerts.yml.
RELAY_SECONDS = 60
MAIL_SECONDS = 900
STALE_SHARE = 0.1
KEY_SECONDS = 365 * 86400
# What one look can tell: more than a moment's events.
BEHIND_EVENTS = 1000


def troubles_of(status: Status) -> Iterator[Trouble]:
    """Yield what is not as it should be, the worst first."""
    found = [
        *_of_services(status),
        *(Trouble("attention", one) for one in _of_the_log(status)),
        *(Trouble("attention", one) for one in _of_keys(status.keys)),
        *(Trouble("attention", one) for one in _of_mail(status)),
    ]
    yield from sorted(found, key=lambda one: one.severity != "down")


def _of_services(status: Status) -> Iterator[Trouble]:
    for one in status.services:
        name = f"{one.service} {one.address}"
        if one.trouble is not None:
            yield Trouble("down", f"{name}: {one.trouble}")
        for check, said in one.checks.items():
            if said != "ok":
                yield Trouble("attention" if one.ready else "down", f"{name}: {check}: {said}")
    if status.rabbitmq.trouble is not None:
        yield Trouble("attention", status.rabbitmq.trouble)


def _of_the_log(status: Status) -> Iterator[str]:
    relay = status.relay
    if relay is not None and relay.lag_seconds > RELAY_SECONDS:
        waited = lasting(relay.lag_seconds)
        yield f"RabbitMQ lacks {counted(relay.lag_events, 'event')}, the oldest for {waited}"
    # Why, if they know, the registries have said by then.
    is_said = any(one.checks.get("relay", "ok") != "ok" for one in status.services)
    if relay is not None and relay.leaders == 0 and not is_said:
        yield "no registry publishes to RabbitMQ"
    for one in status.projections:
        share = (one.staleness_seconds or 0.0) / one.staleness_limit_seconds
        if share > STALE_SHARE:
            since = lasting(one.staleness_seconds or 0.0)
            yield f"projection of {one.address}: not confirmed for {since}"
        yield from _behind_trouble(f"projection of {one.address}", one.lag_events)
    if status.notifier is not None:
        yield from _behind_trouble("notifier", status.notifier.lag_events)
    epochs = {one.epoch for one in (status.log, status.notifier, *status.projections) if one}
    if len(epochs - {None}) > 1:
        yield "the log has begun another history, and not all services follow it yet"


def _behind_trouble(who: str, events: int | None) -> Iterator[str]:
    if events is not None and events > BEHIND_EVENTS:
        yield f"{who}: {counted(events, 'event')} behind the log"


def _of_keys(keys: Keys) -> Iterator[str]:
    if len({one.kid for one in keys.published if one.state == "current"}) > 1:
        yield "token services sign with different keys"
    if keys.age_seconds is not None and keys.age_seconds > KEY_SECONDS:
        yield f"the signing key is {lasting(keys.age_seconds)} old: oauthapps keys rotate"


def _of_mail(status: Status) -> Iterator[str]:
    if status.notifier is not None and status.notifier.undecodable_events:
        waiting = counted(status.notifier.undecodable_events, "undecodable event")
        yield f"{waiting} parked for a newer notifier: oauthapps notifications undecodable"
    mail = status.deliveries
    if mail is not None and mail.parked:
        yield f"{counted(mail.parked, 'mail')} parked: oauthapps notifications list --state parked"
    if mail is not None and mail.oldest_due_seconds > MAIL_SECONDS:
        yield f"mail waits, the oldest for {lasting(mail.oldest_due_seconds)}"
