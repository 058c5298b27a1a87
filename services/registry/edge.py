"""What every request to the REST API passes before its handler: who calls, how often, whether anew.

In one place, for all operations of the table, so that no handler can forget it.
"""

from starlette.requests import Request
from starlette.responses import Response

from services.registry.callers import Callers
from services.registry.creation import Forbidden
from services.registry.idempotency import Idempotency
from services.registry.operations import Operation
from services.registry.rate_limits import CallerLimits, Policy
from shared.resource_server import insufficient_scope
from shared.security_log import path_of, security


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
        about = {"user": caller.user.id, "client_id": caller.token.client_id}
        path = path_of(request.url.path)
        if refusal is not None:
            security.warning("requests limited", **about, path=path)
            raise refusal
        if operation.scope not in caller.token.scopes:
            security.warning("scope missing", **about, path=path, scope=operation.scope)
            raise insufficient_scope(operation.scope)
        try:
            if operation.method == "POST":
                return await self._idempotency.answer(operation, request, caller)
            return await operation.handler(request)
        except Forbidden as error:
            security.warning("request refused", **about, path=path, reason=str(error))
            raise
