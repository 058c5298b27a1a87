"""What a service that stops owes to those who still come."""

import ctypes
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress

from shared.problem import Problem

CLOSE = (b"connection", b"close")
# For requests that take longer than an end may take.
STOPPING = Problem(
    503,
    "The service stops; please try again.",
    headers={"Retry-After": "1", "Connection": "close"},
)
# Of Linux: a filter of the packets for a socket, and the one instruction "take none of it".
_SO_ATTACH_FILTER = 26
_TAKE_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)


def last_at(listener: socket.socket) -> Iterator[socket.socket]:
    """Let nobody else connect, and take those who have and were not accepted yet.

    A listener that is closed breaks off whoever waits at it, and between a last look and the end
    somebody may come. Whoever is not let in any more hears nothing until the port is closed, and is
    refused then.
    """
    if sys.platform == "linux":
        instruction = ctypes.create_string_buffer(_TAKE_NOTHING)
        program = struct.pack("HP", 1, ctypes.addressof(instruction))
        # A kernel without it leaves a gap of some microseconds.
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            # Nobody is left, or it is another process that took the last one.
            return
        connection.setblocking(False)
        yield connection
