"""Whose certificates clients trust: read once a process, since that takes longer than a request."""

import ssl
from functools import cache

import httpx


@cache
def trusted() -> ssl.SSLContext:
    """Return what `httpx` trusts by itself, or what SSL_CERT_FILE names instead, for `verify=`."""
    return httpx.create_ssl_context()
