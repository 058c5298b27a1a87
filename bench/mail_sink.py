"""A mail server that takes everything and keeps only when: `python -m bench.mail_sink PORT`.

A process of its own, with no more of SMTP than our client needs: what is measured is the notifier.
For each mail it writes a line: the Unix time at which its final dot was read, and its Message-ID.
"""

import asyncio
import re
import sys
import time
from typing import cast

import uvloop

_MESSAGE_ID = re.compile(rb"(?mi)^Message-ID:\s*<([^>]*)>")
_REPLIES = {b"EHLO": b"250-sink\r\n250 8BITMIME\r\n", b"DATA": b"354 go on\r\n"}


class Connection(asyncio.Protocol):
    """One client."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        # That of uvloop is one in all but its ancestors.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer each command, and each mail."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n.\r\n" if self._in_data else b"\r\n")
            if end < 0:
                return
            taken = bytes(self._buffer[:end])
            del self._buffer[: end + (5 if self._in_data else 2)]
            if self._in_data:
                self._in_data = False
                found = _MESSAGE_ID.search(taken)
                name = found[1].decode() if found else "?"
                sys.stdout.write(f"{time.time():.6f} {name}\n")
                self.transport.write(b"250 taken\r\n")
                continue
            verb = taken[:4].upper()
            self._in_data = verb == b"DATA"
            self.transport.write(_REPLIES.get(verb, b"250 fine\r\n"))


async def main(port: int) -> None:
    """Take mail until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port)
    async with server:
        while True:
            await asyncio.sleep(0.2)
            sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
