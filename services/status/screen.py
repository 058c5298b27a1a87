"""One screen: what each part says, in green, yellow or red where a person watches."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.status.shape import Keys, Service, Status, Subscriber
from services.status.troubles import MAIL_SECONDS, RELAY_SECONDS, STALE_SHARE
from services.status.words import counted, lasting

STYLES = {"ok": "bold green", "attention": "bold yellow", "down": "bold red"}
UNKNOWN = Text("not known", style="yellow")


def screen(status: Status) -> RenderableType:
    """Return what is shown."""
    head = Text.assemble(
        ("oauthapps", "bold"),
        "  ",
        (status.state, STYLES[status.state]),
        f"  {status.at:%H:%M:%S}Z",
    )
    parts: list[RenderableType] = [head, "", _services(status.services), "", _standing(status)]
    if status.troubles:
        parts.append("")
        parts += [
            Text(f"{one.severity}: {one.what}", STYLES[one.severity]) for one in status.troubles
        ]
    return Group(*parts)


def _services(services: Sequence[Service]) -> Table:
    table = _grid(4)
    for one in services:
        failing = [f"{name}: {said}" for name, said in one.checks.items() if said != "ok"]
        if not one.reached:
            word, style = "away", "red"
        elif not one.ready:
            word, style = "not ready", "red"
        else:
            word, style = "ready", "yellow" if failing else "green"
        why = Text("; ".join([one.trouble] if one.trouble else failing), style)
        table.add_row(one.service, one.address, Text(word, style), one.version or "", why)
    return table


def _standing(status: Status) -> Table:
    table = _grid(1)
    for name, said in (
        ("log", _log(status)),
        ("relay", _relay(status)),
        ("RabbitMQ", _broker(status)),
        *(("subscriber", _subscriber(one)) for one in status.subscribers),
        *(("projection", one) for one in _projections(status) or [UNKNOWN]),
        ("notifier", _notifier(status)),
        *(("key", one) for one in _keys(status.keys) or [UNKNOWN]),
        ("mail", _mail(status)),
    ):
        table.add_row(name, said)
    return table


def _grid(names: int) -> Table:
    """Return a table of which the first columns are never broken; the last may be, where narrow."""
    table = Table.grid(padding=(0, 2))
    for _ in range(names):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _log(status: Status) -> Text:
    if status.log is None:
        return UNKNOWN
    return Text(f"at {status.log.position}, epoch {status.log.epoch}")


def _relay(status: Status) -> Text:
    relay = status.relay
    if relay is None:
        is_known = status.log is not None
        return Text("none: without RabbitMQ the feed is followed") if is_known else UNKNOWN
    is_late = relay.leaders == 0 or relay.lag_seconds > RELAY_SECONDS
    lead = "leads" if relay.leaders else "nobody leads"
    said = f"{lead}, {counted(relay.lag_events, 'event')} not confirmed"
    if relay.lag_events:
        said += f", the oldest {lasting(relay.lag_seconds)} old"
    return Text(said, "yellow" if is_late else "green")


def _broker(status: Status) -> Text:
    match status.rabbitmq.reached:
        case True:
            return Text("reached", "green")
        case False:
            return Text("not reached", "yellow")
        case None:
            return Text("not asked: bus.url is not configured here")


def _subscriber(one: Subscriber) -> Text:
    how = f"connected, {one.waiting} waiting" if one.connected else "by the feed"
    return Text(f"{one.service} {one.address} {how}", "green" if one.connected else "yellow")


def _projections(status: Status) -> list[Text]:
    lines = []
    for one in status.projections:
        staleness, limit = one.staleness_seconds, one.staleness_limit_seconds
        is_fresh = staleness is not None and staleness <= STALE_SHARE * limit
        since = "never filled" if staleness is None else f"confirmed {lasting(staleness)} ago"
        lines.append(
            Text(
                f"{one.address} at {one.position}{_behind(one.lag_events)}, {since}, "
                f"limit {lasting(limit)}, {counted(one.clients, 'client')}",
                "green" if is_fresh else "yellow",
            )
        )
    return lines


def _behind(events: int | None) -> str:
    return "" if events is None else f", {events} behind"


def _notifier(status: Status) -> Text:
    one = status.notifier
    if one is None:
        return UNKNOWN
    said = f"at {one.position}{_behind(one.lag_events)}"
    if one.undecodable_events:
        parked = counted(one.undecodable_events, "undecodable event")
        return Text(f"{said}, {parked} parked", "yellow")
    return Text(said, "green")


def _keys(keys: Keys) -> list[Text]:
    return list(_key_lines(keys))


def _key_lines(keys: Keys) -> Iterator[Text]:
    for one in keys.published:
        yield Text(
            f"{one.state} {one.algorithm} {one.kid}", "green" if one.state == "current" else ""
        )
    if keys.age_seconds is not None:
        said = f"made {lasting(keys.age_seconds)} ago"
        if keys.next_step_at is not None:
            said += f", next step at {keys.next_step_at:%Y-%m-%d %H:%M:%S}Z"
        yield Text(said)


def _mail(status: Status) -> Text:
    mail = status.deliveries
    if mail is None:
        return UNKNOWN
    said = f"{mail.due} due, {mail.unknown} unknown, {mail.sending} sending, {mail.parked} parked"
    if mail.oldest_due_seconds:
        said += f", the oldest waits for {lasting(mail.oldest_due_seconds)}"
    is_late = mail.parked > 0 or mail.oldest_due_seconds > MAIL_SECONDS
    return Text(said, "yellow" if is_late else "green")
