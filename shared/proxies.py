"""Whose `X-Forwarded-For` and `-Proto` are believed: those of the proxies that are named."""

import asyncio
import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
# How often a name is looked up again while it is used, and how often for somebody unknown.
KNOWN_SECONDS = 10.0
UNKNOWN_SECONDS = 1.0
ALL = "*"


class ForwardedHeaders:
    """What replaces the other side's address by the one that a proxy names.

    Proxies are addresses, networks or host names. A name is looked up when a request with such
    headers comes: containers get another address when they are made again.
    """

    def __init__(self, app: ASGIApp, proxies: Sequence[str]) -> None:
        self._app: Any = app
        self._addresses = [one for one in proxies if one == ALL or _is_address(one)]
        self._names = [one for one in proxies if one not in self._addresses]
        self._looking_up = asyncio.Lock()
        self._looked_up = float("-inf")
        self._believe([])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if (
            self._names
            and scope["type"] == "http"
            and any(name in FORWARDED for name, _ in scope["headers"])
        ):
            await self._look_up(scope.get("client") or ("", 0))
        await self._believing(cast("Any", scope), cast("Any", receive), cast("Any", send))

    def _believe(self, found: Sequence[str]) -> None:
        trusted: list[str] | str = [*self._addresses, *found]
        if ALL in self._addresses:
            trusted = ALL
        self._believing = ProxyHeadersMiddleware(self._app, trusted)

    async def _look_up(self, client: tuple[str, int]) -> None:
        async with self._looking_up:
            loop = asyncio.get_running_loop()
            known = client[0] in self._believing.trusted_hosts
            if loop.time() - self._looked_up < (KNOWN_SECONDS if known else UNKNOWN_SECONDS):
                return
            self._looked_up = loop.time()
            found: list[str] = []
            for name in self._names:
                # One that does not run now has no address.
                with suppress(OSError):
                    found += [str(address[0]) for *_, address in await loop.getaddrinfo(name, None)]
            self._believe(found)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
