"""Ports: free ones, and those somebody listens on."""

import asyncio
import random
import socket
from contextlib import suppress

# Below those that the kernel gives to outgoing connections: one of these takes what was just free.
_OURS = range(10_000, 32_768)
# Names that no other process can take while this one lives, one for each port that was given out.
_claims: list[socket.socket] = []


def free_port() -> int:
    """Return a TCP port that nobody listens on, and that no other test run is given meanwhile."""
    for port in random.sample(_OURS, len(_OURS)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            # In the abstract namespace of Linux: gone with the process, and no file.
            claim.bind(f"\0oauthapps-tests-{port}")
            with socket.socket() as trial:
                trial.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            return port
    message = f"no port of {_OURS} is free"
    raise OSError(message)


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
