"""What the HTTP edges of the three services share: health, metrics, problems, bodies."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared import request_ids
from shared.health import Check, examine
from shared.logs import get_logger
from shared.metrics import Reading, exposition
from shared.problem import PROBLEM_MEDIA_TYPE, Problem
from shared.tasks import end

log = get_logger(__name__)

READY = Reading("oauthapps_ready", "1 while /readyz says so", ["service"])
CHECK = Reading(
    "oauthapps_check_passed", "1 for each line of /readyz that is ok", ["service", "check"]
)
# Of answers that hold a secret, or that are true for a moment only.
NO_STORE = {"Cache-Control": "no-store"}


def json_response(
    value: Any,
    status: int = 200,
    *,
    headers: Mapping[str, str] | None = None,
    media_type: str = "application/json",
) -> Response:
    """Return a JSON answer."""
    return Response(
        msgspec.json.encode(value), status, headers=dict(headers or {}), media_type=media_type
    )


def health_routes(
    service: str,
    checks: Mapping[str, Check],
    told: Mapping[str, Callable[[], str | None]] | None = None,
) -> list[Route]:
    """Return `/livez`, `/readyz` and `/metrics`.

    What is only `told` in `/readyz`, as a trouble or None, makes nobody unready.
    """

    async def examined() -> tuple[bool, dict[str, str]]:
        report = await examine(checks)
        also = {name: _said(trouble) for name, trouble in (told or {}).items()}
        return report.ready, {**report.checks, **also}

    async def livez(_request: Request) -> Response:
        return json_response({"live": True})

    async def readyz(request: Request) -> Response:
        if getattr(request.app.state, "is_stopping", False):
            return json_response({"ready": False, "checks": {"service": "stops"}}, 503)
        ready, outcomes = await examined()
        body = {"ready": ready, "checks": outcomes}
        return json_response(body, 200 if ready else 503)

    async def readings() -> list[Metric]:
        ready, outcomes = await examined()
        passed = [CHECK.of(said == "ok", service, name) for name, said in outcomes.items()]
        return [READY.of(ready, service), *passed]

    async def metrics(_request: Request) -> Response:
        return Response(await exposition(readings), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/livez", livez, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


def _said(trouble: Callable[[], str | None]) -> str:
    try:
        return trouble() or "ok"
    except Exception as error:  # noqa: BLE001 - what cannot tell must not silence the others
        return f"failed ({type(error).__name__})"


def problem_response(problem: Problem) -> Response:
    """Return a problem as its answer."""
    # Some, such as 404 and 405, could be kept by caches without a word (RFC 9110, section 15.1).
    headers = {**NO_STORE, **problem.headers}
    body = problem.body(request_ids.current())
    return Response(body, problem.status, headers=headers, media_type=PROBLEM_MEDIA_TYPE)


async def _on_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - for the type checker; registered for it alone
    return problem_response(error)


async def _on_http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - likewise
    detail = {
        404: "There is nothing at this address.",
        405: "This address does not take that method.",
    }.get(error.status_code, error.detail)
    return problem_response(Problem(error.status_code, detail, headers=error.headers))


async def _on_error(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, method=request.method, exc_info=error)
    return problem_response(Problem(500, "Something went wrong on our side; it has been logged."))


PROBLEM_HANDLERS: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    Problem: _on_problem,
    HTTPException: _on_http_exception,
    Exception: _on_error,
}


async def read_body(request: Request, *, limit: int, seconds: float = 10.0) -> bytes:
    """Return the body. Raises Problem 413 past `limit` bytes, 408 past `seconds`."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Problem(400, "The body broke off.")
                body += message.get("body", b"")
                if len(body) > limit:
                    raise _too_large(limit)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise Problem(
            408, "The body did not arrive in time.", headers={"Connection": "close"}
        ) from None
    return bytes(body)


def _too_large(limit: int) -> Problem:
    message = f"The body is larger than {limit} bytes."
    return Problem(413, message, headers={"Connection": "close"})


@asynccontextmanager
async def background(*jobs: Awaitable[None]) -> AsyncIterator[None]:
    """Run jobs beside the block; cancel and await them at its end. A job that dies is logged."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    for task in tasks:
        task.add_done_callback(_log_death)
    try:
        yield
    finally:
        await end(*tasks)


def _log_death(task: "asyncio.Future[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("background job died", exc_info=task.exception())
