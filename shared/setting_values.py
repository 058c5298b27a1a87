"""What the value of a setting may be, and how a secret is read."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
# Scheme, host or IPv6 address, port.
_ORIGIN = re.compile(
    r"([a-z][a-z0-9+.-]*)://(?:[a-z0-9_](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(\d{1,5}))?"
)
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")


class ConfigurationError(Exception):
    """The configuration cannot be used; the message names the setting and the remedy."""


class FileUnreadable(ConfigurationError):
    """A file that is named cannot be read; it may come late, and can be waited for."""


def secret(value: SecretStr | None, file: Path | None) -> str | None:
    """Return a secret given by the environment or, if not there, by a file.

    Raises FileUnreadable, also when the file is empty.
    """
    if value is not None:
        return value.get_secret_value()
    if file is None:
        return None
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        message = f"secret file {file}: cannot be read ({reason}); check path and permissions"
        raise FileUnreadable(message) from None
    if not found:
        message = f"secret file {file}: is empty; write the secret into it"
        raise FileUnreadable(message)
    return found


def parse_duration(value: object) -> object:
    """Return `10m`, `1.5h`, `250ms` or a number of seconds as a timedelta."""
    if isinstance(value, timedelta):
        return value
    found = _DURATION.match(value) if isinstance(value, str) else None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return timedelta(seconds=value)
        if found is not None:
            return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    except (OverflowError, ValueError):
        # YAML knows .inf, .nan and numbers longer than any calendar.
        pass
    message = "give a duration such as 250ms, 30s, 10m, 1h or 7d"
    raise ValueError(message)


def _url(*schemes: str, example: str) -> Callable[[SecretStr], SecretStr]:
    """Return the check of a URL that may hold a password: by its scheme, and without saying it."""

    def check(url: SecretStr) -> SecretStr:
        scheme, _, place = url.get_secret_value().partition("://")
        if scheme not in schemes or not place:
            message = f"give a URL such as {example}"
            raise ValueError(message)
        return url

    return check


check_postgres_url = _url("postgresql", "postgres", example="postgresql://host/database")
check_amqp_url = _url("amqp", "amqps", example="amqp://host/")
PostgresUrl = Annotated[SecretStr, AfterValidator(check_postgres_url)]
AmqpUrl = Annotated[SecretStr, AfterValidator(check_amqp_url)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(gt=timedelta(0))]
DurationOrZero = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))]
Port = Annotated[int, Field(ge=0, le=65535)]


def _check_origin(origin: str) -> str:
    """Return an origin if a browser can ever send it: it is compared as it stands (RFC 6454)."""
    found = _ORIGIN.fullmatch(origin)
    if origin != "*" and found is None:
        message = (
            "give origins such as https://app.example.com or http://localhost:3000: in lower case, "
            'without a path and without a slash at the end; or "*" for all'
        )
        raise ValueError(message)
    if found is not None and found[2] is not None:
        port = int(found[2])
        if not 0 < port <= 65535 or port == {"http": 80, "https": 443}.get(found[1]):
            message = "leave out a port that goes without saying, and give none above 65535"
            raise ValueError(message)
    return origin


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in origins and len(origins) > 1:
        message = '"*" allows all origins: let it stand alone'
        raise ValueError(message)
    return origins


Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_check_origin)], ...], AfterValidator(_check_origins)
]
# Labels of letters, digits, hyphens and underscores, with dots between them.
DnsName = Annotated[
    str, Field(max_length=253, pattern=r"^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*$")
]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")]


def _check_proxies(proxies: tuple[str, ...]) -> tuple[str, ...]:
    for one in proxies:
        with suppress(ValueError):
            ip_network(one)
            continue
        if one != "*" and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", one):
            message = 'give addresses, networks such as 10.0.0.0/8, host names, or "*" for all'
            raise ValueError(message)
    return proxies


def _check_collector(url: str | None) -> str | None:
    if not url:
        return None
    with suppress(ValueError):
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if is_address and "@" not in parts.netloc and not parts.query and not parts.fragment:
            return url.rstrip("/")
    message = (
        "give the address of a collector that takes OTLP over HTTP, such as "
        "http://collector:4318; what it wants to know of us goes to telemetry.otlp_headers_file"
    )
    raise ValueError(message)


Proxies = Annotated[tuple[str, ...], AfterValidator(_check_proxies)]
# Empty as good as none: so it is passed on where a variable is not set.
Collector = Annotated[str | None, AfterValidator(_check_collector)]
