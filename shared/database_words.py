"""What Postgres and its driver say, in words that an operator can act on, without a password."""

import errno
import os
import socket
import ssl
from urllib.parse import parse_qs, urlsplit

import asyncpg

from shared.cut_urls import is_cut


def why_not_connected(error: BaseException, url: str, named: str) -> str:
    """Return why there is no connection, and what to do; `named` is what holds the URL."""
    place = _place(url)
    match error:
        case asyncpg.InvalidAuthorizationSpecificationError():
            return f"Postgres at {place} refuses us: {_said(error)}; correct {named}"
        case asyncpg.InvalidCatalogNameError():
            return f"Postgres at {place} refuses us: {_said(error)}; create it, or correct {named}"
        case asyncpg.InsufficientPrivilegeError():
            return f"Postgres at {place} refuses us: {_said(error)}; grant the right to connect"
        case asyncpg.PostgresError():
            return f"Postgres at {place} does not answer: {_said(error)}"
        case ssl.SSLCertVerificationError():
            reason = error.verify_message
            return f"the certificate of Postgres at {place} is not good ({reason}); correct {named}"
        case asyncpg.ClientConfigurationError() if "certificate" in str(error):
            return f"the TLS of {named} cannot be set up: {str(error).splitlines()[0]}"
        case FileNotFoundError() if not place.startswith("/"):
            return f"the TLS of {named} cannot be set up: a file that it names is not there"
        case ValueError():
            return f"{named} is no URL that can be read; is its password percent-encoded?"
        case ConnectionError() if "SSL" in str(error):
            return (
                f"Postgres at {place} offers no TLS, which sslmode asks for; "
                f"let it offer TLS, or correct {named}"
            )
    return f"Postgres at {place} does not answer ({_reason(error)}); start it, or correct {named}"


def reason_of(error: BaseException) -> str:
    """Return what went wrong with a statement, or before it could be sent."""
    match error:
        case asyncpg.InsufficientPrivilegeError():
            return f"Postgres does not allow it: {_said(error)}; grant the right"
        case (
            asyncpg.InvalidSchemaNameError()
            | asyncpg.UndefinedTableError()
            | asyncpg.UndefinedColumnError()
            | asyncpg.UndefinedFunctionError()
        ):
            return f"the schema is not as it should be: {_said(error)}; run `oauthapps migrate`"
        case asyncpg.DiskFullError():
            return "the disk of Postgres is full; make room"
        case asyncpg.ReadOnlySQLTransactionError():
            return "Postgres takes no writes: it is a standby, or was set to read only"
        case asyncpg.PostgresError() | asyncpg.InterfaceError() | asyncpg.InternalClientError():
            return f"Postgres does not answer ({type(error).__name__})"
        case TimeoutError():
            return "Postgres does not answer (TimeoutError)"
    return str(error) or f"Postgres does not answer ({type(error).__name__})"


def _said(error: BaseException) -> str:
    """Return the server's words; of a refusal they name roles, databases and tables."""
    return str(error.args[0]) if error.args else type(error).__name__


def _place(url: str) -> str:
    """Return where it is: the part of a URL that may be logged."""
    parts = urlsplit(url)
    if is_cut(parts):
        return "an unreadable address"
    try:
        port = parts.port
    except ValueError:
        # Several hosts, or none that can be read.
        if "," not in parts.netloc:
            return "an unreadable address"
        port = None
    place = parts.netloc.rpartition("@")[2]
    if not place:
        return parse_qs(parts.query).get("host", ["localhost"])[0]
    return place if port is not None or "," in place else f"{place}:5432"


def _reason(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason}"
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and number in errno.errorcode:
        return os.strerror(number)
    return type(error).__name__
