"""The bounds of a request that uvicorn's protocol does not have, and an upgrade that is not taken.

A head is bounded in size and time, and so is a body that nobody reads. Whoever offers another
protocol, as Java's client does with each first request (`Upgrade: h2c`), is answered in this one,
with its body (RFC 9110, section 7.8); and trailers are no headers (section 6.5.1).
"""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 65_536
# How long a connection may be open without a request, and how long a body may come that was
# answered already.
HEAD_SECONDS = 10.0
UNREAD_SECONDS = 2.0


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with an end to everything."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        self._since_head = 0
        self._looked_at: Any = None
        self._look_later = self.loop.call_later(HEAD_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._look_later.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._unset_keepalive_if_required()
        self._since_head += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        else:
            if self._since_head > HEAD_BYTES and not self._is_in_body():
                self.send_400_response("The head of the request is too large.")

    def on_headers_complete(self) -> None:
        """Begin to answer, unless another protocol is offered: then the head is read again."""
        self._since_head = 0
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            # The scope has the list there was; trailers are added to this one.
            self.headers = []

    def on_message_complete(self) -> None:
        """Note that the body has ended, also when it was answered before."""
        self._since_head = 0
        if not self.parser.should_upgrade():
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Go on with the next request, once the rest of this one has come."""
        super().on_response_complete()
        # Another cycle than the answered one is of a request that waited for it.
        if self._is_body_left():
            self.loop.call_later(UNREAD_SECONDS, self._cut_off, self.cycle)

    def _is_in_body(self) -> bool:
        # None until the first request, whatever its type says.
        cycle: Any = self.cycle
        return cycle is not None and cycle.more_body

    def _is_body_left(self) -> bool:
        """Tell whether there is more of a body that was answered already."""
        return self._is_in_body() and self.cycle.response_complete

    def _stay(self, rest: bytes) -> None:
        """Read the request again without its offer; `rest` is what came after its head."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("This is no proxy.")
            return
        kept = [
            name + b": " + value + b"\r\n" for name, value in self.headers if name != b"upgrade"
        ]
        version = self.parser.get_http_version().encode()
        head = method + b" " + self.url + b" HTTP/" + version + b"\r\n" + b"".join(kept) + b"\r\n"
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head + rest)

    def _look(self) -> None:
        """Close a connection on which nothing was asked since the last look."""
        cycle: Any = self.cycle
        is_idle = cycle is None or cycle.response_complete
        if is_idle and cycle is self._looked_at:
            self.transport.close()
            return
        self._looked_at = cycle
        self._look_later = self.loop.call_later(HEAD_SECONDS, self._look)

    def _cut_off(self, cycle: object) -> None:
        if self.cycle is cycle and self._is_in_body():
            self.transport.close()
