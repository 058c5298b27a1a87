"""`/api/notifications`, as an administrator's program calls it."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest_asyncio
from starlette.applications import Starlette

from services.notifier.deliveries import Deliveries, Filter
from services.notifier.openapi import document, openapi_route
from services.notifier.outcome import Verdict
from services.notifier.rest import READ, WRITE, NotificationsApi, api_routes
from shared.config import Settings
from shared.cursors import cursor_of
from shared.events import NO_PRIVATE_DATA, ApplicationDeactivated
from shared.resource_server import BearerVerifier, Possession
from shared.sections import Subscription
from shared.subscription import Subscription as Following
from shared.web import PROBLEM_HANDLERS, background
from shared.withdrawals import Withdrawals
from tests.integration.notifier.house import record, record_one
from tests.integration.notifier.test_deliveries import LEASE
from tests.integration.registry.api import Issuer, problem
from tests.integration.shared.told_feed import ToldFeed
from tests.integration.token.house import serving
from tests.support.eventually import eventually
from tests.unit.notifier.factories import OWNER, application_created, envelope

PATH = "/api/notifications"


@dataclass
class Api:
    """The API, whoever may call it, and the log that ends their tokens."""

    http: httpx.AsyncClient
    issuer: Issuer
    feed: ToldFeed
    settings: Settings
    woken: list[bool] = field(default_factory=list)

    def headers(self, *scopes: str, client_id: str = "administrators") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.issuer.token(client_id, scopes)}"}

    async def get(self, **query: Any) -> Any:
        answer = await self.http.get(PATH, params=query, headers=self.headers(READ))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, delivery_id: str, what: str) -> httpx.Response:
        return await self.http.post(f"{PATH}/{delivery_id}/{what}", headers=self.headers(WRITE))


@pytest_asyncio.fixture
async def api(tmp_path: Path, deliveries: Deliveries) -> AsyncIterator[Api]:
    """The API as the service wires it."""
    settings = Settings(var=tmp_path)
    issuer, feed = Issuer(settings), ToldFeed()
    withdrawals = Withdrawals(feed, lifetime=timedelta(hours=1), max_staleness=timedelta(minutes=5))
    following = Following(withdrawals, feed, Subscription(long_poll=timedelta(seconds=1)))
    woken: list[bool] = []
    async with serving(issuer.app) as tokens:
        verifier = BearerVerifier(
            f"{tokens}/.well-known/jwks.json", issuer=settings.issuer, audience=settings.audience
        )
        routes = api_routes(
            NotificationsApi(deliveries, lambda: woken.append(True)),
            verifier=verifier,
            possession=Possession(settings.notifier_public_url),
            withdrawals=withdrawals,
        )
        app = Starlette(
            routes=[routes, openapi_route(settings)], exception_handlers=PROBLEM_HANDLERS
        )
        async with (
            background(following.run()),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://notifier"
            ) as http,
        ):
            await eventually(lambda: withdrawals.staleness < 60)
            yield Api(http, issuer, feed, settings, woken)
        await verifier.aclose()


async def test_the_list_is_filtered_and_paged(api: Api, deliveries: Deliveries) -> None:
    """By everything that an operator knows of a mail; pages follow on each other."""
    other = str(uuid.uuid4())
    told = [envelope(n, application_created(name=f"App {n}")) for n in range(1, 6)]
    await record(deliveries, *told, envelope(6, application_created(owner=other)))
    claim = await deliveries.claim(uuid.uuid4(), LEASE)
    assert claim is not None
    await deliveries.settle(claim, Verdict(state="parked", reason="550 no"))

    pages, cursor = [], ""
    while cursor is not None:
        page = await api.get(limit=4, cursor=cursor)
        pages.append(page["items"])
        cursor = page["next_cursor"]
    everything = [one for page in pages for one in page]
    parked = (await api.get(state="parked"))["items"]

    assert [len(page) for page in pages] == [4, 2]
    assert len({one["id"] for one in everything}) == 6
    assert everything == sorted(everything, key=lambda one: one["created_at"], reverse=True)
    assert [(one["id"], one["last_error"]) for one in parked] == [(str(claim.id), "550 no")]
    assert parked[0]["next_attempt_at"] is None
    counts: list[tuple[dict[str, str], int]] = [
        ({"recipient": other}, 1),
        ({"recipient": OWNER, "state": "due"}, 4),
        ({"application": told[0].stream}, 1),
        ({"event_type": "ApplicationCreated"}, 6),
        ({"event_type": "ApplicationDeleted"}, 0),
        ({"rule": "application-created"}, 6),
        ({"created_after": "2000-01-01T00:00:00Z"}, 6),
        ({"created_before": "2000-01-01T00:00:00Z"}, 0),
        # One transaction recorded them all, at one moment, and it is not after itself.
        ({"created_after": everything[0]["created_at"]}, 0),
        ({"created_before": everything[0]["created_at"]}, 0),
    ]
    for query, count in counts:
        assert len((await api.get(**query))["items"]) == count, query
    first = await api.get(limit=1)
    shown = await api.http.get(f"{PATH}/{first['items'][0]['id']}", headers=api.headers(READ))
    assert shown.json() == first["items"][0]
    view = document(api.settings)["components"]["schemas"]
    schema = {"$ref": "#/components/schemas/NotificationPage", "components": {"schemas": view}}
    jsonschema.validate(first, schema)
    refused = await api.http.get(
        PATH, params={"cursor": first["next_cursor"], "state": "due"}, headers=api.headers(READ)
    )
    problem(refused, 400)
    without_offset = cursor_of(Filter(), ("2026-01-01T00:00:00", str(uuid.uuid4())))
    for query in (
        {"state": "lost"},
        {"recipient": "me"},
        {"limit": "0"},
        {"created_after": "x"},
        {"cursor": without_offset},
    ):
        problem(await api.http.get(PATH, params=query, headers=api.headers(READ)), 400)
    problem(await api.http.get(PATH, params={"to": "me"}, headers=api.headers(READ)), 400)


async def test_retry_and_discard_do_what_the_command_line_does(
    api: Api, deliveries: Deliveries
) -> None:
    """What was sent, or is being sent, is left alone; the senders are told of what is due."""
    await record_one(deliveries)
    (one,) = (await api.get())["items"]

    discarded = [await api.post(one["id"], "discard") for _ in range(2)]
    retried = await api.post(one["id"], "retry")
    claim = await deliveries.claim(uuid.uuid4(), LEASE)
    assert claim is not None
    sending = await api.post(one["id"], "retry")
    await deliveries.settle(claim, Verdict(state="sent", reason=None))
    sent = await api.post(one["id"], "discard")

    assert [answer.json()["state"] for answer in (*discarded, retried)] == ["discarded"] * 2 + [
        "due"
    ]
    assert api.woken == [True]
    problem(sending, 409)
    problem(sent, 409)
    problem(await api.post(str(uuid.uuid4()), "retry"), 404)
    problem(await api.post("junk", "retry"), 404)


async def test_only_a_good_token_with_the_scope_opens_it(api: Api) -> None:
    """And not any longer than its client may have tokens."""
    path = f"{PATH}/{uuid.uuid4()}/retry"
    problem(await api.http.get(PATH), 401)
    problem(await api.http.get(PATH, headers={"Authorization": "Bearer x"}), 401)
    problem(await api.http.get(PATH, headers=api.headers(WRITE)), 403)
    problem(await api.http.post(path, headers=api.headers(READ)), 403)
    problem(await api.http.post(path, headers=api.headers(WRITE)), 404)
    problem(await api.http.post(PATH, headers=api.headers(WRITE)), 405)
    assert (await api.http.get("/openapi.json")).json()["info"]["title"] == "oauthapps notifier"

    headers = api.headers(READ, client_id="gone")
    assert (await api.http.get(PATH, headers=headers)).status_code == 200
    created = application_created()
    gone = ApplicationDeactivated(
        application_id=created.application_id,
        client_id="gone",
        organization_id=created.organization_id,
        owner_id=created.owner_id,
        name=created.name,
    )
    api.feed.tell((gone, NO_PRIVATE_DATA))

    async def refused() -> bool:
        return (await api.http.get(PATH, headers=headers)).status_code == 401

    await eventually(refused)


async def test_the_description_leads_nowhere_else(api: Api) -> None:
    """Generators of clients stop at the first reference that does."""
    described = document(api.settings)
    for schema in described["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    operations = [one for path in described["paths"].values() for one in path.values()]

    assert len({one["operationId"] for one in operations}) == 4
    scopes = described["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    assert set(scopes["scopes"]) == {READ, WRITE}
