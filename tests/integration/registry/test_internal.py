"""`/internal/…`, as the other services call it."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from services.registry.app import create_app
from services.registry.permissions import administers
from shared.clients import checksum
from shared.feed_client import MOST_RECIPIENTS, FeedClient, RegistryRefused
from shared.service_credential import load
from tests.integration.registry.api import Api, problem
from tests.integration.token.house import serving
from tests.unit.token.factories import fold


@pytest_asyncio.fixture
async def url(api: Api) -> AsyncIterator[str]:
    """A second registry process on the same database, served for real."""
    async with serving(create_app(api.settings)) as url:
        yield url


@pytest_asyncio.fixture
async def client(api: Api, url: str) -> AsyncIterator[FeedClient]:
    """What token service and notifier use."""
    credential = load(api.settings.var / "service_credential")
    async with FeedClient(url, credential, page_size=2) as client:
        yield client


async def test_the_feed_is_read_in_pages_up_to_its_head(api: Api, client: FeedClient) -> None:
    """With the digests, which nobody else gets."""
    for name in ("A", "B", "C"):
        await api.create(name)

    first = await client.read(0)
    second = await client.read(2)

    assert [one.position for one in (*first.envelopes, *second.envelopes)] == [1, 2, 3, 4]
    assert all(one.private.secret_digest for one in first.envelopes)
    head = await client.head()
    assert (head.log_epoch, head.position) == (first.log_epoch, 4)


async def test_a_long_poll_hears_what_another_process_appends(api: Api, client: FeedClient) -> None:
    """Within a moment, not within a polling interval."""
    waiting = asyncio.create_task(client.read(1, wait=20))
    await asyncio.sleep(0)
    await api.create()

    async with asyncio.timeout(10):
        assert len((await waiting).envelopes) == 1


async def test_a_long_poll_does_not_hold_up_the_end(api: Api) -> None:
    """It is answered with nothing, and nothing went wrong."""
    credential = load(api.settings.var / "service_credential")
    async with asyncio.timeout(10):
        async with serving(create_app(api.settings)) as url:
            client = FeedClient(url, credential)
            waiting = asyncio.create_task(client.read(1, wait=30))
            await asyncio.wait({waiting}, timeout=0.3)
        page = await waiting

    assert page.envelopes == []
    await client.__aexit__(None, None, None)


async def test_the_snapshot_is_the_fold_of_the_feed(api: Api, client: FeedClient) -> None:
    """What a new token service starts from."""
    off = await api.create("A")
    await api.http.post(f"/api/applications/{off['id']}/deactivate")
    gone = await api.create("B")
    await api.http.delete(f"/api/applications/{gone['id']}")

    async with client.snapshot() as (head, records):
        found = [one async for one in records]

    envelopes = [*(await client.read(0)).envelopes, *(await client.read(2)).envelopes]
    envelopes += (await client.read(4)).envelopes
    assert head.position == len(envelopes) == 5
    assert checksum(found) == checksum(fold(envelopes))


async def test_a_recipient_is_told_to_our_own_services(api: Api, client: FeedClient) -> None:
    """Nobody else learns an address, and an unknown one is no error."""
    recipient = await client.recipient(api.house.owner.id)

    assert recipient is not None
    assert recipient.email == "owner@example.com"
    assert await client.recipient("00000000-0000-0000-0000-000000000000") is None
    assert await client.recipient("junk") is None
    asked = ["junk", api.house.owner.id, "00000000-0000-0000-0000-000000000000"]
    assert await client.recipients(asked) == {recipient.id: recipient}
    # More senders may wait than one question holds people.
    many = [str(uuid.uuid4()) for _ in range(MOST_RECIPIENTS)]
    assert await client.recipients([*many, *asked]) == {recipient.id: recipient}


async def test_the_administrators_of_an_organization_are_told(api: Api, client: FeedClient) -> None:
    """Each of whom the permissions say so, and nobody who is disabled."""
    directory = api.house.directory
    home = api.house.organization
    for name, access, active in (
        ("Away", False, True),
        ("Above", True, True),
        ("Off", True, False),
    ):
        made = await directory.add_organization(name, global_access=access)
        if not active:
            await directory.set_organization_active(made.id, active=False)
    for name, organizations in (
        ("own", ["Example"]),
        ("both", ["Example", "Away"]),
        ("other", ["Away"]),
        ("above", ["Above"]),
        ("off", ["Off"]),
        ("gone", ["Example"]),
    ):
        await directory.add_user(
            f"{name}@example.com", name=name, organizations=organizations, administrator=True
        )
    gone = await directory.user("gone@example.com")
    await directory.set_user_active(gone.id, active=False)

    told = await client.administrators(home.id)

    users = await directory.users()
    assert set(told) == {one.id for one in users if one.active and administers(one.actor, home.id)}
    assert {one.name for one in users if one.id in told} == {"own", "both", "above"}
    assert gone.id not in await client.administrators("junk")


@pytest.mark.parametrize(
    "path",
    [
        "/internal/feed",
        "/internal/feed/head",
        "/internal/snapshot",
        "/internal/recipients/x",
        "/internal/recipients?id=x",
        "/internal/organizations/x/administrators",
    ],
)
async def test_without_the_credential_every_internal_door_is_shut(api: Api, path: str) -> None:
    """Also for an access token with every scope there is."""
    token = api.headers(api.client_id)["Authorization"]
    for authorization in ("", "Bearer", "Bearer x", "Basic eDp5", "Bearer \xe9", token):
        headers = {b"Authorization": authorization.encode("latin-1")}
        problem(await api.http.get(path, headers=headers), 401)


async def test_a_wrong_credential_is_said_to_be_one(api: Api, url: str) -> None:
    """The operator looks at the file, not at the network."""
    async with FeedClient(url, "x" * 43) as client:
        with pytest.raises(RegistryRefused, match="same file"):
            await client.head()


@pytest.mark.parametrize(
    "query",
    [
        "after=-1",
        "after=x",
        "after=nan",
        "after=1e400",
        "limit=-1",
        "limit=1000000",
        "wait=61",
        "wait=inf",
    ],
)
async def test_a_wrong_number_is_named(api: Api, query: str) -> None:
    """A subscriber with a bug must not take the registry along."""
    credential = load(api.settings.var / "service_credential")
    headers = {"Authorization": f"Bearer {credential}"}

    answer: httpx.Response = await api.http.get(f"/internal/feed?{query}", headers=headers)

    document = problem(answer, 400)
    assert [query.partition("=")[0]] == [one["parameter"] for one in document["errors"]]
