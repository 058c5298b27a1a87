"""What every request to the REST API passes before its handler: who calls, how often, whether anew.

In one place, for all operations of the table, so that no handler can forget it.
"""

from starlette.requests import Request
from starlette.responses import Response

from services.registry.callers import Callers
from services.registry.idempotency import Idempotency
from services.registry.operations import Operation
from services.registry.rate_limits import CallerLimits, Policy


class Edge:
    """Answers the requests of operations; `request.state.headers` go into each answer."""

    def __init__(self, callers: Callers, *, limits: CallerLimits, idempotency: Idempotency) -> None:
        self._callers = callers
        self._limits = limits
        self._idempotency = idempotency

    async def __call__(self, operation: Operation, request: Request) -> Response:
        """Return the answer. Raises Problem 401, 403, 429, 503, and what the operation raises."""
        caller = await self._callers.authenticated(request)
        policy: Policy = "reads" if operation.method == "GET" else "writes"
        request.state.headers, refusal = self._limits.take(caller.token.client_id, policy)
        if refusal is not None:
            raise refusal
        caller = await self._callers.caller(request, operation.scope)
        if operation.method == "POST":
            return await self._idempotency.answer(operation, request, caller)
        return await operation.handler(request)
