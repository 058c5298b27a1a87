"""Liveness and readiness: what `/livez` and `/readyz` say.

A service is live while its event loop turns. It is ready while every check passes; a check that
fails says why, in words an operator can act on, and the service goes on with what it can do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

Check = Callable[[], Awaitable[None]]
CHECK_SECONDS = 2.0


class NotReady(Exception):
    """A part that this service needs does not work now."""


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of all checks: name → `ok` or the reason why not."""

    checks: Mapping[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Tell whether every check passed."""
        return all(outcome == "ok" for outcome in self.checks.values())


async def examine(checks: Mapping[str, Check]) -> Report:
    """Run all checks at once, each for at most two seconds."""
    outcomes = await asyncio.gather(*(_outcome(check) for check in checks.values()))
    return Report(dict(zip(checks, outcomes, strict=True)))


async def _outcome(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except NotReady as reason:
        return str(reason)
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 - a check that breaks is a check that fails
        return f"failed ({type(error).__name__})"
    return "ok"
