"""Three token services behind one address."""

import base64
from functools import partial

from tests.compose.engine import Container
from tests.compose.load import Load
from tests.compose.stack import Stack
from tests.e2e.system import Credentials
from tests.support.eventually import eventually

INSIDE = "http://127.0.0.1:8002"
TOKENS = 'oauthapps_token_requests_total{endpoint="token",outcome="ok"}'
REQUESTS = 300


async def status_at(stack: Stack, replica: Container, application: Credentials) -> int:
    """Return what one replica says to an application."""
    basic = base64.b64encode(f"{application.client_id}:{application.client_secret}".encode())
    answer = await stack.ask(
        replica,
        f"{INSIDE}/oauth2-token",
        "grant_type=client_credentials",
        Authorization=f"Basic {basic.decode()}",
    )
    return answer.status


async def tokens_of(stack: Stack, replica: Container) -> float:
    """Return how many tokens a replica has given out."""
    metrics = (await stack.ask(replica, f"{INSIDE}/metrics")).body
    (line,) = [line for line in metrics.splitlines() if line.startswith(TOKENS)]
    return float(line.split()[-1])


async def test_caddy_spreads_requests_over_all(replicas: Stack) -> None:
    """One that gets nothing to do is no help, and would be found out too late."""
    places = await replicas.containers("token")
    assert len(places) == 3
    before = [await tokens_of(replicas, one) for one in places]
    async with Load(replicas.url["token"], await replicas.create("busy")) as load:
        await load.goes_on(REQUESTS)
    after = [await tokens_of(replicas, one) for one in places]

    assert load.failed == {}
    shares = [new - old for old, new in zip(before, after, strict=True)]
    assert min(shares) > REQUESTS / 10, shares


async def test_each_knows_a_new_client_at_once_and_forgets_it_soon(replicas: Stack) -> None:
    """Whichever of them is asked first: it looks before it refuses."""
    places = await replicas.containers("token")
    application = await replicas.create("everywhere")
    assert [await status_at(replicas, one, application) for one in places] == [200, 200, 200]
    await replicas.deactivate(application)
    for place in places:

        async def refuses(place: Container) -> bool:
            return await status_at(replicas, place, application) == 401

        await eventually(partial(refuses, place))
