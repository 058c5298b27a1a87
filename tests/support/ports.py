"""Ports of loopback."""

import socket


def free_port() -> int:
    """Return a TCP port that nobody listened on a moment ago."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port
