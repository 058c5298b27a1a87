"""Ports: free ones, and those somebody listens on."""

import asyncio
import socket
from contextlib import suppress


def free_port() -> int:
    """Return a TCP port that nobody listened on a moment ago."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


async def answers(port: int, greeting: bytes = b"", *, host: str = "127.0.0.1") -> bool:
    """Tell whether somebody listens, and says something to a greeting."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    try:
        writer.write(greeting)
        return not greeting or bool(await reader.read(1))
    except OSError:
        return False
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
