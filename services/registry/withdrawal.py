"""Withdrawing credentials with their owner: what the disabled own is deactivated.

First the directory says who is disabled, then one append deactivates everything. A process that
dies between the two leaves work for the watch, which every registry keeps.
"""

import asyncio
import uuid
from collections.abc import Callable

from services.registry.clock import now
from services.registry.domain import DeactivateApplication, RegistryError
from services.registry.event_store import EventStore
from services.registry.handlers import Context, change_applications
from services.registry.views import ApplicationViews
from shared.failures import TransientFailure
from shared.interruptions import Interruptions
from shared.logs import get_logger
from shared.postgres import POSTGRES_ERRORS

WATCH_SECONDS = 30.0
log = get_logger(__name__)


async def withdraw(store: EventStore, views: ApplicationViews, context: Context) -> int:
    """Deactivate what disabled users and organizations own; return how many applications.

    In one transaction: all of them or none. Raises WrongExpectedVersion, TransientFailure.
    """
    # An append that saw the owner enabled has ended: what it added is in the list below.
    await store.barrier()
    commands = {
        application_id: DeactivateApplication(reason=reason)
        for application_id, reason in await views.active_of_disabled()
    }
    return await change_applications(store, commands, context)


async def watch(
    store: EventStore,
    views: ApplicationViews,
    *,
    context: Callable[[], Context] = lambda: Context(
        command_id=str(uuid.uuid4()), actor="service:registry", now=now
    ),
) -> None:
    """Finish what a process that died began, until cancelled."""
    interrupted = Interruptions(
        log, "watch over disabled owners interrupted", over="watch over disabled owners goes on"
    )
    while True:
        try:
            if await views.active_of_disabled():
                count = await withdraw(store, views, context())
                log.warning("applications of disabled owners deactivated", applications=count)
        except POSTGRES_ERRORS as error:
            # Also a schema that is not there yet: the watch outlives it, as the registry does.
            interrupted.note(error)
        except (RegistryError, TransientFailure) as failure:
            log.warning("watch over disabled owners interrupted", reason=type(failure).__name__)
        else:
            interrupted.over()
        await asyncio.sleep(WATCH_SECONDS)
