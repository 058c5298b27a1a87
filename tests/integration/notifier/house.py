"""The notifier's parts, put together for a test."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from services.notifier.app import MIGRATIONS, SCHEMA
from services.notifier.deliveries import Deliveries, Filter
from services.notifier.domain import Rule, notifications_for
from services.notifier.intake import occurrence_of
from services.notifier.sender import Senders
from shared.envelope import Envelope
from shared.feed_client import Recipient, RegistryUnavailable
from shared.postgres import connect, migrate
from shared.sections import Notifier
from shared.subscription import Cursor
from shared.web import background
from tests.support.smtp_server import SmtpServer
from tests.unit.notifier.factories import RULES, application_created, envelope, recipient, renderer

EPOCH = "33333333-3333-4333-8333-333333333333"
DOMAIN = "mail.example"


class Directory:
    """The people whom the registry knows, and a registry that can be away."""

    def __init__(self, *people: Recipient) -> None:
        self.people = {one.id: one for one in people or (recipient(),)}
        self.administering: dict[str, tuple[str, ...]] = {}
        self.reachable = True
        self.hangs = False

    async def recipient(self, user_id: str) -> Recipient | None:
        if not self.reachable:
            raise RegistryUnavailable("registry: no answer")
        if self.hangs:
            await asyncio.Event().wait()
        return self.people.get(user_id)

    async def administrators(self, organization_id: str) -> tuple[str, ...]:
        if not self.reachable:
            raise RegistryUnavailable("registry: no answer")
        return self.administering.get(organization_id, ())


async def migrated(database_url: str) -> None:
    """Bring a database's schema up to date."""
    connection = await connect(database_url)
    try:
        await migrate(connection, SCHEMA, MIGRATIONS)
    finally:
        await connection.close()


def settings(server: SmtpServer, **values: Any) -> Notifier:
    """Return settings with short times, for this mail server."""
    smtp = {"port": server.port, "timeout": 5, "answer_timeout": 5, **values.pop("smtp", {})}
    defaults = {"retry_first": "20ms", "retry_longest": "100ms", "lease": "20s"}
    return Notifier.model_validate({**defaults, **values, "smtp": smtp})


async def record(
    deliveries: Deliveries,
    *envelopes: Envelope,
    rules: Sequence[Rule] = RULES,
    oldest: datetime | None = None,
) -> None:
    """Record what events ask for, as the intake does."""
    await deliveries.record(
        [
            (one, told)
            for one in map(occurrence_of, envelopes)
            for told in notifications_for(one, rules)
        ],
        Cursor(EPOCH, envelopes[-1].position),
        oldest=oldest or datetime.now(UTC) - timedelta(days=3),
        message_id_domain=DOMAIN,
    )


async def record_one(deliveries: Deliveries, *, name: str = "CI") -> None:
    """Record one delivery that is due."""
    await record(deliveries, envelope(1, application_created(name=name)))


@asynccontextmanager
async def sending(
    deliveries: Deliveries, directory: Directory, values: Notifier
) -> AsyncIterator[Senders]:
    """Run senders beside the block, and wake them once they wait."""
    writes = renderer(sender_name=values.sender_name, sender_address=values.sender_address)
    senders = Senders(values, deliveries, directory, writes, directory)
    async with background(senders.run()):
        await asyncio.sleep(0)
        yield senders


async def only(deliveries: Deliveries) -> dict[str, Any]:
    """Return the one delivery there is."""
    (row,) = await deliveries.page(Filter(), 10)
    return row


async def state(deliveries: Deliveries) -> str:
    """Return the state of the one delivery there is."""
    found: str = (await only(deliveries))["state"]
    return found
