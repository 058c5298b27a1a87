"""Whether traces are exported, and where: what the settings say."""

import re

from shared.config import Settings
from shared.setting_values import ConfigurationError, secret
from shared.tracing import OFF, Tracing

_HEADER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([ -~]+)")


def tracing_of(settings: Settings, service: str) -> Tracing:
    """Return what a service tells of traces. Raises ConfigurationError."""
    wanted = settings.telemetry
    if wanted.otlp_endpoint is None:
        return OFF
    headers = _headers(secret(wanted.otlp_headers, wanted.otlp_headers_file) or "")
    # Whoever wants no traces does not wait for it at each start, and spares the memory.
    from shared.telemetry import Telemetry  # noqa: PLC0415

    url = f"{wanted.otlp_endpoint}/v1/traces"
    return Telemetry(url, headers, service=service, ratio=wanted.sampling_ratio)


def _headers(text: str) -> dict[str, str]:
    """Return the headers that stand there, one in a line."""
    headers = {}
    for number, line in enumerate(text.splitlines(), 1):
        found = _HEADER.fullmatch(line.strip())
        if found is None:
            message = f"telemetry.otlp_headers: line {number} is no header such as Name: value"
            raise ConfigurationError(message)
        headers[found[1]] = found[2]
    return headers
