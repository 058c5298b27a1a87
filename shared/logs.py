"""Logging: structlog to standard error, one JSON object a line, with nothing secret in it."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from shared import request_ids, tracing
from shared.sections import Logs

if TYPE_CHECKING:
    from shared.envelope import Envelope

# Second line of defence; the first is that nobody logs one.
_SECRET_NAMES = re.compile(
    r"secret|password|digest|authorization|token|assertion|cookie", re.IGNORECASE
)
_CLIENT_SECRET = re.compile(r"oas_[A-Za-z0-9]{8,}")
_URL_PASSWORD = re.compile(r"(\b\w+://[^:/@\s]*):[^@/\s]+@")
_HARMLESS = frozenset({"token_url", "secret_id"})
REMOVED = "[removed]"


def add_ids(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Say of which request and of which trace a line is."""
    request_id, place = request_ids.current(), tracing.here()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    if place is not None:
        event["trace_id"], event["span_id"] = f"{place.trace_id:032x}", f"{place.span_id:016x}"
    return event


def remove_secrets(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Blank fields named like secrets, and what looks like one inside texts, however deep."""
    for name, value in event.items():
        event[name] = _clean(name, value)
    return event


def _clean(name: object, value: Any) -> Any:
    if isinstance(name, str) and name not in _HARMLESS and _SECRET_NAMES.search(name):
        return REMOVED
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {key: _clean(key, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(None, inner) for inner in value]
    return value


def scrub(text: str) -> str:
    """Return the text without client secrets and without passwords in URLs."""
    return _URL_PASSWORD.sub(rf"\1:{REMOVED}@", _CLIENT_SECRET.sub(REMOVED, text))


def configure(settings: Logs, service: str) -> None:
    """Send every log line of the process, also those of libraries, through one formatter."""
    shared_steps: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_ids,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: Any
    if settings.format == "json":
        renderer = structlog.processors.JSONRenderer(default=lambda value: scrub(repr(value)))
        shared_steps.append(structlog.processors.format_exc_info)
    else:
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The default one shows the variables of every frame: secrets, and addresses.
            exception_formatter=structlog.dev.plain_traceback,
        )

        def for_people(*line: Any) -> str:
            return scrub(console(*line))

        renderer = for_people
    shared_steps.append(remove_secrets)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared_steps,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    # Their lines tell the connection's story in their own words; ours tell it once.
    for noisy in ("aio_pika", "httpx", "httpcore", "mail.log", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    # It reports as an error, with a stack, each connection that ends while it waits on it.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared_steps,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)


def debug_each(
    log: structlog.stdlib.BoundLogger, said: str, envelopes: Sequence["Envelope"]
) -> None:
    """Write a line about each of some events, where lines for debugging are written."""
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        for one in envelopes:
            log.debug(said, **one.ids)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of one module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
