"""What a service says of itself at `/readyz`."""

import httpx


async def is_ready(http: httpx.AsyncClient) -> bool:
    """Tell whether it can do its work."""
    return (await http.get("/readyz")).status_code == 200


async def checks(http: httpx.AsyncClient) -> dict[str, str]:
    """Return what it says of each part: `ok`, or what is wrong."""
    found: dict[str, str] = (await http.get("/readyz")).json()["checks"]
    return found
